"""Figures of a run, whatever the user's session has told matplotlib."""

import os
from pathlib import Path


def draw(folder: Path) -> list[Path]:
    """Draw all figures of a run; see `semfed.report.plots.plot`.

    Matplotlib takes a second to import, so nobody does before there is something to draw. It looks for a backend then,
    which Jupyter names by an environment variable that other interpreters cannot follow.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        from semfed.report import plots
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return plots.plot(folder)
