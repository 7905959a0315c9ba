"""A run in a notebook: progress below the cell while it goes on. Table and figures are what `Run` shows of itself."""

import html
import io
import sys
import time
from pathlib import Path
from typing import Any

from semfed.events.callbacks import Callback
from semfed.runs import terminal
from semfed.runs.progress import Progress
from semfed.scenario import Scenario, plugins

COLUMNS = 100
EVERY_S = 0.25
"""A notebook is told at most this often: every display travels to a browser."""


def is_here() -> bool:
    """Whether this process is the kernel of a notebook; IPython on a terminal is none."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def callbacks(folder: Path, engine: str) -> list[Callback]:
    """Return what shows a run in a notebook: its progress, and its figures once it has ended."""
    return [NotebookProgress(), plugins.load("callbacks", "figures")(folder, engine=engine)]


class NotebookProgress(Progress):
    """The bar of a terminal, and the lines above it, in one display that changes; what is below needs no widgets."""

    def __init__(self) -> None:
        self._said = io.StringIO()
        super().__init__(terminal.console(width=COLUMNS, file=self._said))
        self.live = True
        self._handle: Any = None
        self._due = 0.0

    def on_run_start(self, scenario: Scenario) -> None:
        """Make the display."""
        super().on_run_start(scenario)
        from IPython import display

        show: Any = display.display  # which has types, or none, depending on whether IPython is installed
        self._handle = show(self._content(), raw=True, display_id=True)

    def changed(self) -> None:
        """Draw again, unless that has just been done."""
        if self._handle is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + EVERY_S
            self._handle.update(self._content(), raw=True)

    def on_run_end(self, error: BaseException | None) -> None:
        """Leave the lines, and the bar where it stopped if the run did not come to its end."""
        if self._handle is not None:
            self._handle.update(self._content(bar=error is not None), raw=True)

    def _content(self, *, bar: bool = True) -> dict[str, str]:
        text = self._said.getvalue()
        if bar:
            screen = io.StringIO()
            terminal.console(width=COLUMNS, file=screen).print(self._bars.get_renderable())
            text += screen.getvalue()
        return {"text/plain": text.rstrip(), "text/html": f"<pre>{html.escape(text.rstrip())}</pre>" if text else ""}
