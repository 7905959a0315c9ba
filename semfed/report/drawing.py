"""Figures and pages of runs, whatever the user's session has told matplotlib."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semfed.events.callbacks import Callback


@contextmanager
def without_backend() -> Iterator[None]:
    """Let matplotlib be imported, which looks for a backend then.

    Jupyter names it by an environment variable that other interpreters cannot follow.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def draw(folder: Path) -> list[Path]:
    """Draw all figures of a run; see `semfed.report.plots.plot`.

    Matplotlib takes a second to import, so nobody does before there is something to draw.
    """
    with without_backend():
        from semfed.report import plots
    return plots.plot(folder)


class Figures(Callback):
    """Draws the figures of a run that has come to its end.

    Parameters
    ----------
    folder : Path
        The run folder; the recorder must come before this callback.
    engine : str
        Not used: all callbacks that a run makes by their names are made alike.
    """

    def __init__(self, folder: Path, *, engine: str) -> None:
        self.folder = folder

    def on_run_end(self, error: BaseException | None) -> None:
        """Draw."""
        if error is None:
            draw(self.folder)
