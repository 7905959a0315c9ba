"""Text on the terminal: what users, scenarios, plugins and paths say is shown as it stands."""

import sys
from typing import IO, Any

from rich.console import Console


def console(*, stderr: bool = False, width: int | None = None, file: IO[str] | None = None) -> Console:
    """Return a console that takes nothing for markup, for emoji or for something to highlight.

    Styles come from `rich.text.Text` and from tables' columns.

    Parameters
    ----------
    stderr : bool, default False
        Where to write.
    width : int, optional
        Columns; the terminal's by default.
    file : text file, optional
        Where to write instead: text alone, also in a notebook, for which rich would make pages.
    """
    plain: dict[str, Any] = {} if file is None else {"file": file, "force_jupyter": False, "force_terminal": False}
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False, **plain)


def escape_what_cannot_be_encoded() -> None:
    r"""Let standard output and error write a character that their encoding lacks as ``\u...`` instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
