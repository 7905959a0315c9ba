"""The table that a run ends with."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from semfed.events.metrics import Metrics
from semfed.report import drawing
from semfed.runs import folder as folders
from semfed.runs import terminal
from semfed.runs.arm_table import arm_table, written
from semfed.runs.marks import legend, marks, over_seeds, seeds_of
from semfed.runs.summary import headline_names, other_scores
from semfed.scenario import Scenario

LARGE = {"bytes": (1e6, "MB"), "channel uses": (1e6, "million")}
"""Units of costs that are shown by the million, and what is said of them then."""


def score_table(summary: Mapping[str, Any], metrics: Metrics) -> Table:
    """Return arms against tasks: the headline's metric at the end, mean and interval over seeds, and baselines."""
    names, metric = headline_names(summary, metrics), metrics.of(summary["headline"])
    quantity = f"{metric.words} in {metric.shown_unit}" if metric.shown_unit else metric.words
    table = _table(f"{summary['scenario']}: test {quantity} after the last round, {over_seeds(summary)}")
    for name in names:
        table.add_column(metric.part(name), justify="right", overflow="fold")
    _add_rows(table, summary, metrics, names)
    table.add_section()
    rows = {metric.baseline: {name: name for name in names}}
    rows |= {m.words: {n: f"{m.name}/{metric.part(n)}" for n in names} for m in metrics if m.role == "baseline"}
    for label, known in rows.items():
        told = [summary["baselines"].get(known[name]) for name in names]
        if any(value is not None for value in told):
            entries = [None if value is None else {"mean": value, "ci95": None} for value in told]
            pads = ["  " if marks(summary, name) else "" for name in names]
            cells = [written(entry, metric) + pad for entry, pad in zip(entries, pads, strict=True)]
            table.add_row(label, *cells, style="dim")
    return table


def _table(title: str) -> Table:
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
    )
    table.add_column("arm", overflow="fold")
    return table


def _add_rows(table: Table, summary: Mapping[str, Any], metrics: Metrics, names: Sequence[str]) -> None:
    """Add a row an arm, with the marks of every column; see `semfed.runs.marks.legend`."""
    seeds = str(seeds_of(summary))
    for row in arm_table(summary, metrics, {}, names).rows:
        cells = [Text(f"{c.text} {c.mark}" if c.mark else c.text, style="bold" if c.best else "") for c in row.cells]
        table.add_row(row.arm if row.n in ("", seeds) else f"{row.arm} (n = {row.n})", *cells)


def near_best_table(summary: Mapping[str, Any], metrics: Metrics, share: float = 0.95) -> Table | None:
    """Return what the arms take to come near the best one; None where none is compared with it.

    Parameters
    ----------
    summary : mapping
    metrics : Metrics
    share : float, default 0.95
        Of the best arm's final mean, one of `semfed.runs.reaching.SHARES`.
    """
    groups = [group for group in summary["reach"] if group["share"] == share and len(group["arms"]) > 1]
    whose = f"{100 * share:g} % of the best arm's "
    return reach_table(summary, metrics, groups, whose) if groups else None


def reach_table(
    summary: Mapping[str, Any], metrics: Metrics, groups: Sequence[Mapping[str, Any]], whose: str = ""
) -> Table:
    """Return what the arms take to reach a target: medians over seeds.

    Parameters
    ----------
    summary : mapping
    metrics : Metrics
    groups : sequence of mapping
        Each with ``target`` and ``arms``; see `semfed.runs.reaching.reached`.
    whose : str
        What the target is, in words before the metric's.
    """
    metric = metrics.of(summary["headline"])
    table = _table(f"to reach {whose}{metric.label(summary['headline'])}: medians over seeds")
    prices = {"rounds": ("rounds", 1.0), "bytes": ("MB", 1e6), "channel_uses": ("million uses", 1e6)}
    for heading in ("target", "reached by", *(heading for heading, _ in prices.values())):
        table.add_column(heading, justify="right", overflow="fold")
    for group in groups:
        target = metric.scale * group["target"]
        for arm, told in group["arms"].items():
            cells = [_median(told.get(price), scale) for price, (_, scale) in prices.items()]
            table.add_row(arm, f"{target:{metric.spec(target)}}", f"{told['reached']} of {told['n']}", *cells)
    return table


def _median(entry: Mapping[str, Any] | None, scale: float) -> str:
    if entry is None:
        return "-"
    return "never" if math.isinf(entry["median"]) else f"{entry['median'] / scale:.4g}"


def cost_table(summary: Mapping[str, Any], metrics: Metrics) -> Table:
    """Return what the arms cost over the whole run, all clients: the scheme's, and what only its simulation sent."""
    table = _table("cost of training, all clients")
    columns: dict[tuple[str, float], list[str]] = {}
    for metric in metrics:
        if metric.role == "cost":
            scale, unit = LARGE.get(metric.unit, (1.0, metric.unit))
            heading = f"{unit} {metric.words}" if metric.unit in LARGE else metric.label(metric.name)
            columns.setdefault((heading, scale), []).append(metric.name)
    for heading, _ in columns:
        table.add_column(heading, justify="right", overflow="fold")
    for arm, told in summary["arms"].items():
        cells = []
        for (_, scale), names in columns.items():
            entries = [told["final"].get(name) for name in names]
            cells.append("-" if None in entries else f"{sum(entry['mean'] for entry in entries if entry) / scale:.2f}")
        table.add_row(arm, *cells)
    return table


def column_table(title: str, summary: Mapping[str, Any], metrics: Metrics, names: Sequence[str]) -> Table | None:
    """Return arms against metrics of several kinds; None without any."""
    if not names:
        return None
    table = _table(title)
    for name in names:
        table.add_column(metrics.of(name).label(name), justify="right", overflow="fold")
    _add_rows(table, summary, metrics, names)
    return table


def signal_table(summary: Mapping[str, Any], metrics: Metrics) -> Table | None:
    """Return what was sent and received in the last test, mean over clients; None if nothing was measured."""
    names = [metric.name for metric in metrics if metric.role == "signal"]
    told = any(name in arm["final"] for arm in summary["arms"].values() for name in names)
    return column_table("signal of the last test, mean over clients", summary, metrics, names if told else [])


def show(summary: Mapping[str, Any], metrics: Metrics, console: Console, names: list[str]) -> None:
    """Print the tables, and the clusters with the clients' names, where there are several."""
    others = column_table("other scores", summary, metrics, other_scores(summary, metrics))
    console.print(score_table(summary, metrics), "")
    explained = legend(summary, [*headline_names(summary, metrics), *other_scores(summary, metrics)])
    if explained:
        console.print(Text(f"{explained}\n", style="dim"))
    rest = (near_best_table(summary, metrics), cost_table(summary, metrics), signal_table(summary, metrics))
    for made in (others, *rest):
        if made is not None:
            console.print(made, "")
    if summary["clusters"] and len(names) > 1:
        threshold = summary["threshold"]
        console.print("clusters" + ("" if threshold is None else f" (similarity threshold {threshold:.6f})"))
        width = max(map(len, summary["clusters"]))
        for arm, clusters in summary["clusters"].items():
            text = "  ".join("{" + ", ".join(names[client] for client in cluster) + "}" for cluster in clusters)
            console.print(f"  {arm:<{width}}  {text}")
    if not summary["complete"]:
        console.print(Text("incomplete:", style="red"), summary["error"])


class Report(drawing.Figures):
    """Prints the table and draws the figures at the end of a run that ``flwr run`` started.

    Parameters
    ----------
    folder, engine
        See `semfed.report.drawing.Figures`.
    """

    def __init__(self, folder: Path, *, engine: str) -> None:
        super().__init__(folder, engine=engine)
        self._names: list[str] = []

    def on_run_start(self, scenario: Scenario) -> None:
        """Say where results go."""
        self._names = [client.name for client in scenario.clients]
        print(f"run folder: {self.folder}", flush=True)

    def on_run_end(self, error: BaseException | None) -> None:
        """Print and draw."""
        if (self.folder / folders.SUMMARY).is_file():
            summary, metrics = folders.read_json(self.folder / folders.SUMMARY), folders.read_metrics(self.folder)
            show(summary, metrics, terminal.console(width=120), self._names)
            super().on_run_end(error)
        print(f"run folder: {self.folder}", flush=True)
