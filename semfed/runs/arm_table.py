"""A run's table, before anybody writes it down: arms against a metric's parts, with intervals and marks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semfed.channels.meter import LIMIT_DB
from semfed.events.metrics import Metric, Metrics
from semfed.runs.marks import BEST, marks
from semfed.runs.statistics import half_width
from semfed.runs.summary import headline_names
from semfed.scenario import Point


def written(entry: Mapping[str, Any] | None, metric: Metric) -> str:
    """Write mean and half the 95 % interval of a metric; a ratio of powers that has no end, in words."""
    if entry is None:
        return "-"
    if metric.over_clients == "power-mean" and abs(entry["mean"]) >= LIMIT_DB:
        return "no noise" if entry["mean"] > 0 else "no signal"
    mean, half = metric.scale * entry["mean"], half_width(entry)
    spec = metric.spec(mean)
    return f"{mean:{spec}}" if half is None else f"{mean:{spec}} ± {metric.scale * half:{spec}}"


@dataclass(frozen=True)
class Cell:
    """A metric of an arm.

    Attributes
    ----------
    metric : Metric
    name : str
        As it is recorded.
    entry : mapping or None
        From the summary, see `semfed.runs.statistics.spread`; None if the arm has no such metric.
    mark : str
        One of `semfed.runs.marks`; a blank for an arm that is worse than the best one, nothing where none is known.
    """

    metric: Metric
    name: str
    entry: Mapping[str, Any] | None
    mark: str = ""

    @property
    def best(self) -> bool:
        """Whether the arm has the best mean of its column."""
        return self.mark == BEST

    @property
    def text(self) -> str:
        """See `written`."""
        return written(self.entry, self.metric)


@dataclass(frozen=True)
class ArmRow:
    """An arm: its name without the sweep's values, these values, and a cell a column."""

    arm: str
    values: tuple[Any, ...]
    cells: tuple[Cell, ...]

    @property
    def n(self) -> str:
        """The number of seeds; several where metrics differ in it."""
        return ", ".join(map(str, sorted({len(cell.entry["values"]) for cell in self.cells if cell.entry is not None})))


@dataclass(frozen=True)
class ArmTable:
    """Arms under headings, as numbers with their metrics; what shows them makes texts of these.

    Attributes
    ----------
    settings : tuple of str
        What was swept: the headings of `ArmRow.values`.
    columns : tuple of str
        The headings of the cells.
    rows : tuple of ArmRow
    """

    settings: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[ArmRow, ...]


def arm_table(
    summary: Mapping[str, Any],
    metrics: Metrics,
    points: Mapping[str, Point],
    names: Sequence[str] = (),
) -> ArmTable:
    """Return the table of a run.

    Parameters
    ----------
    summary : mapping
    metrics : Metrics
    points : mapping of str to Point
        Of the arms of a sweep, as `semfed.scenario.Sweep.points` tells.
    names : sequence of str
        Metrics as they are recorded; those of the headline if there are none.
    """
    chosen = list(names) or headline_names(summary, metrics)
    kinds, told = {name: metrics.of(name) for name in chosen}, {name: marks(summary, name) for name in chosen}
    settings = tuple(dict.fromkeys(setting for point in points.values() for setting in point.values))
    rows = []
    for arm, found in summary["arms"].items():
        point = points.get(arm, Point(arm, {}))
        values = tuple(point.values.get(setting, "") for setting in settings)
        cells = (Cell(kinds[n], n, found["final"].get(n), told[n].get(arm, " ") if told[n] else "") for n in chosen)
        rows.append(ArmRow(point.arm, values, tuple(cells)))
    return ArmTable(settings, tuple(kinds[name].label(name) for name in chosen), tuple(rows))
