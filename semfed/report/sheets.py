"""Tables without a medium: what the terminal shows as rich's tables, a page shows as HTML."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

NUMBER = re.compile(r"[-+<−–∞]? ?\d|[-–]?$|no noise|no signal|never|equal")
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
            frozenset(k for k, cell in enumerate(cells) if "bold" in (row.style, getattr(cell, "style", ""))),
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


def below(sheets: Sequence[Sheet], caption: str) -> Sheet:
    """Return tables of the same columns as one under the other."""
    return Sheet(caption, sheets[0].headings, [row for sheet in sheets for row in sheet.rows])


def cluster_sheets(summary: Mapping[str, Any], scenario: Mapping[str, Any]) -> list[Sheet]:
    """Return the clusters of every arm, and the similarity that they follow from; none of a single client."""
    names = [client["name"] for client in scenario["clients"]]
    if len(names) == 1:
        return []
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
