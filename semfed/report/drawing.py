"""Figures and pages of runs, whatever the user's session has told matplotlib."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
