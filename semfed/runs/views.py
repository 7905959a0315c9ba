"""How a run shows itself: in a line, and in a notebook."""

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semfed.runs import folder as folders
from semfed.runs.arm_table import arm_table
from semfed.runs.formats import caption, html_table
from semfed.runs.marks import seeds_of
from semfed.runs.side_by_side import told_by
from semfed.runs.statistics import half_width
from semfed.runs.summary import headline_names, swept
from semfed.scenario import read

FIGURES = 4
"""Pictures that a notebook shows; the others are in the folder."""
SCALE = 110 / 300
"""A notebook's pixels for one of a picture, which are 300 an inch: text is then as large as the page's."""


def line(folder: Path, summary: Mapping[str, Any]) -> str:
    """Describe a run in a line.

    Parameters
    ----------
    folder : Path
        Its folder.
    summary : mapping
        Content of its ``summary.json``.
    """
    arms, seeds, name, best = len(summary["arms"]), seeds_of(summary), summary["headline"], summary.get("best")
    counts = f"{arms} arm{'s' * (arms != 1)}, {seeds} seed{'s' * (seeds != 1)}"
    told = ["" if summary["complete"] else "not complete"]
    if best is not None:
        entry = summary["arms"][best]["final"][name]
        half = half_width(entry)
        value = f"{name} {entry['mean']:.4g}" + ("" if half is None else f" ± {half:.2g}")
        told.append(f"best {best!r}: {value}" if arms > 1 else value)
    return f"<Run {summary['scenario']!r}: {'; '.join(filter(None, [counts, *told]))}; in '{folder}'>"


def page(folder: Path) -> str:
    """Return the headline's table as HTML, with the first figures that have been drawn.

    Parameters
    ----------
    folder : Path
        A run folder.
    """
    summary = told_by(folder)
    metrics, points = folders.read_metrics(folder), swept(read(folder / folders.SCENARIO))
    table = html_table(arm_table(summary, metrics, points), caption(summary, headline_names(summary, metrics)))
    first = summary["headline"].replace("/", "-")
    drawn = sorted((folder / "plots").glob("*.png"), key=lambda path: _place(path.stem, first))
    pictures = map(_image, drawn[:FIGURES])
    return f"<div>{table}{''.join(pictures)}<p>{html.escape(str(folder))}</p></div>"


def _image(path: Path) -> str:
    data = path.read_bytes()
    width = round(int.from_bytes(data[16:20], "big") * SCALE)
    style = f"display: inline-block; width: {width}px; max-width: 100%; background: white"
    content = base64.b64encode(data).decode()
    return f'<img alt="{html.escape(path.stem)}" style="{style}" src="data:image/png;base64,{content}">'


def _place(name: str, headline: str) -> tuple[bool, bool, str]:
    """Return where a figure stands: those of the headline first, and first of them how it came about."""
    return not name.startswith(headline), not name.endswith("-vs-round"), name
