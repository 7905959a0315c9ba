"""The table that a run ends with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from semfed.channels.meter import LIMIT_DB
from semfed.events.callbacks import Callback
from semfed.events.metrics import Metric, Metrics
from semfed.report import drawing
from semfed.runs import folder as folders
from semfed.runs import terminal
from semfed.runs.results import quoted
from semfed.runs.summary import best_arm, headline_names, other_scores
from semfed.scenario import Scenario

LARGE = {"bytes": (1e6, "MB"), "channel uses": (1e6, "million")}
"""Units of costs that are shown by the million, and what is said of them then."""


def written(entry: Mapping[str, Any] | None, metric: Metric) -> str:
    """Write mean and spread of a metric; a ratio of powers that has no end, in words."""
    if entry is None:
        return "-"
    if metric.over_clients == "power-mean" and abs(entry["mean"]) >= LIMIT_DB:
        return "no noise" if entry["mean"] > 0 else "no signal"
    return quoted(entry, metric)


def score_table(summary: Mapping[str, Any], metrics: Metrics) -> Table:
    """Return arms against tasks: the headline's metric at the end, mean and deviation over seeds, and baselines.

    The best arm of a column is bold.
    """
    names, metric = headline_names(summary, metrics), metrics.of(summary["headline"])
    counts = [len(entry["values"]) for arm in summary["arms"].values() for entry in arm["final"].values()]
    seeds = max(counts, default=0)
    quantity = f"{metric.words} in {metric.shown_unit}" if metric.shown_unit else metric.words
    table = _table(f"{summary['scenario']}: test {quantity} after the last round, {seeds} seed{'s' * (seeds != 1)}")
    for name in names:
        table.add_column(metric.part(name), justify="right", no_wrap=True)
    _add_rows(table, summary, dict.fromkeys(names, metric))
    table.add_section()
    rows = {metric.baseline: {name: name for name in names}}
    rows |= {m.words: {n: f"{m.name}/{metric.part(n)}" for n in names} for m in metrics if m.role == "baseline"}
    for label, known in rows.items():
        told = [summary["baselines"].get(known[name]) for name in names]
        if any(value is not None for value in told):
            entries = [None if value is None else {"mean": value, "sd": None} for value in told]
            table.add_row(label, *(written(entry, metric) for entry in entries), style="dim")
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("arm", no_wrap=True)
    return table


def _add_rows(table: Table, summary: Mapping[str, Any], columns: Mapping[str, Metric]) -> None:
    """Add a row an arm; the best one of a column is bold, if there are others."""
    best = {name: best_arm(summary, metric, name) for name, metric in columns.items() if len(summary["arms"]) > 1}
    for arm, told in summary["arms"].items():
        cells = [
            Text(written(told["final"].get(name), metric), style="bold" if best.get(name) == arm else "")
            for name, metric in columns.items()
        ]
        table.add_row(arm, *cells)


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
        table.add_column(heading, justify="right", no_wrap=True)
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
        table.add_column(metrics.of(name).label(name), justify="right", no_wrap=True)
    _add_rows(table, summary, {name: metrics.of(name) for name in names})
    return table


def signal_table(summary: Mapping[str, Any], metrics: Metrics) -> Table | None:
    """Return what was sent and received in the last test, mean over clients; None if nothing was measured."""
    names = [metric.name for metric in metrics if metric.role == "signal"]
    told = any(name in arm["final"] for arm in summary["arms"].values() for name in names)
    return column_table("signal of the last test, mean over clients", summary, metrics, names if told else [])


def show(summary: Mapping[str, Any], metrics: Metrics, console: Console, names: list[str]) -> None:
    """Print the tables, and the clusters with the clients' names."""
    others = column_table("other scores", summary, metrics, other_scores(summary, metrics))
    for made in (score_table(summary, metrics), others, cost_table(summary, metrics), signal_table(summary, metrics)):
        if made is not None:
            console.print(made)
    if summary["clusters"]:
        threshold = summary["threshold"]
        console.print("clusters" + ("" if threshold is None else f" (similarity threshold {threshold:.6f})"))
        width = max(map(len, summary["clusters"]))
        for arm, clusters in summary["clusters"].items():
            text = "  ".join("{" + ", ".join(names[client] for client in cluster) + "}" for cluster in clusters)
            console.print(f"  {arm:<{width}}  {text}")
    if not summary["complete"]:
        console.print(Text("incomplete:", style="red"), summary["error"])


class Report(Callback):
    """Prints the table and draws the figures at the end of a run that ``flwr run`` started.

    Parameters
    ----------
    folder : Path
        The run folder; the recorder must come before this callback.
    engine : str
        Not used: all callbacks that the server app makes are made alike.
    """

    def __init__(self, folder: Path, *, engine: str) -> None:
        self.folder = folder
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
            if error is None:
                drawing.draw(self.folder)
        print(f"run folder: {self.folder}", flush=True)
