"""Tables without a medium: what the terminal shows as rich's tables, a page shows as HTML."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from semfed.events.metrics import Metric

NUMBER = re.compile(r"[-+<−–∞]? ?\d|[-–]?$|no noise|no signal|never|one seed")
"""How what stands in a column of numbers begins."""
LONG = 40
"""Rows from which on a table is folded."""


@dataclass(frozen=True)
class Row:
    """Texts of a row, the first of which names it; which of them are strong; whether it is beside the matter."""

    cells: Sequence[str]
    strong: frozenset[int] = frozenset()
    dim: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table: its caption, the headings of its columns, none if they need none, and its rows."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Row]

    def numeric(self, column: int) -> bool:
        """Whether a column holds numbers, which stand on the right."""
        cells = [row.cells[column] for row in self.rows if column < len(row.cells)]
        return column > 0 and bool(self.headings) and all(NUMBER.match(cell) for cell in cells)

    @property
    def long(self) -> bool:
        """Whether it takes more than a screen."""
        return len(self.rows) > LONG


def sheet_of(table: Table) -> Sheet:
    """Return what a table of the terminal says."""
    columns = [list(column.cells) for column in table.columns]
    rows = [
        Row(
            [str(cell).strip() for cell in cells],
            frozenset(k for k, cell in enumerate(cells) if isinstance(cell, Text) and cell.style == "bold"),
            dim=row.style == "dim",
        )
        for row, cells in zip(table.rows, zip(*columns, strict=True), strict=True)
    ]
    return Sheet(str(table.title), [str(column.header) for column in table.columns], rows)


def pairs(caption: str, values: Mapping[str, Any]) -> Sheet:
    """Return a table of names and what they are; lists are written with commas, what is unset as a dash."""
    written = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
        for name, value in values.items()
    }
    return Sheet(caption, [], [Row([name, text or "–"]) for name, text in written.items()])


def comparison_sheet(groups: Sequence[Mapping[str, Any]], metric: Metric, name: str) -> Sheet:
    """Return the paired comparisons of a metric; see `semfed.runs.comparisons.compare`.

    Parameters
    ----------
    groups : sequence of mapping
        Those of a summary: one a point of a sweep.
    metric : Metric
    name : str
        As it is recorded.
    """
    unit = "points" if metric.fraction else metric.unit
    headings = ["arm", "minus", " ".join(filter(None, ("difference", f"({unit})" if unit else ""))), "95 % interval",
                "seeds", "p, t-test", "corrected", "p, Wilcoxon", "corrected"]  # fmt: skip
    rows = []
    for group in groups:
        for arm, told in group["arms"].items():
            cells = [arm, group["reference"], *_difference(told, metric), str(told["n"])]
            for test in (told["t"], told["wilcoxon"]):
                cells += [test["reason"] or "", ""] if test["p"] is None else [_p(test["p"]), _p(test["holm"])]
            rows.append(Row(cells))
    families = "; ".join(dict.fromkeys(group["family"] for group in groups))
    return Sheet(
        f"{metric.label(name)}: differences paired by seed; p-values corrected by Holm's method for {families}",
        headings,
        rows,
    )


def _difference(told: Mapping[str, Any], metric: Metric) -> tuple[str, str]:
    if "mean" not in told:
        return "–", "–"
    mean = metric.scale * told["mean"]
    spec = metric.spec(mean)
    if told["ci95"] is None:
        return f"{mean:+{spec}}", "one seed"
    low, high = (metric.scale * end for end in told["ci95"])
    return f"{mean:+{spec}}", f"{low:+{spec}} to {high:+{spec}}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def cluster_sheets(summary: Mapping[str, Any], scenario: Mapping[str, Any]) -> list[Sheet]:
    """Return the clusters of every arm, and the similarity that they follow from, where there are any."""
    names = [client["name"] for client in scenario["clients"]]
    found = []
    if summary["clusters"]:
        threshold = "" if summary["threshold"] is None else f" (similarity threshold {summary['threshold']:.6f})"
        rows = [
            Row([arm, "  ".join("{" + ", ".join(names[client] for client in cluster) + "}" for cluster in clusters)])
            for arm, clusters in summary["clusters"].items()
        ]
        found.append(Sheet(f"clusters of the first seed{threshold}", ["arm", "clusters"], rows))
    if summary["similarity"]:
        matrix = [Row([name, *(f"{value:.3f}" for value in row)]) for name, row in zip(names, summary["similarity"],
                                                                                      strict=True)]  # fmt: skip
        found.append(Sheet("semantic similarity of the clients' tasks", ["client", *names], matrix))
    return found
