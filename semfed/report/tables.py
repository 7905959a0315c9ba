"""The table that a run ends with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from semfed.channels.meter import LIMIT_DB
from semfed.events.callbacks import Callback
from semfed.report import drawing
from semfed.runs import folder as folders
from semfed.runs import terminal
from semfed.runs.results import quoted
from semfed.runs.summary import shown_metrics
from semfed.scenario import Scenario

MILLION = 1e6
COSTS = {
    "MB up": ("bytes_up",),
    "MB down": ("bytes_down",),
    "million channel uses": ("channel_uses",),
    "MB simulated": ("simulation_bytes_up", "simulation_bytes_down"),
}
SIGNALS = {"power/transmit": "transmit power per symbol", "snr/received-db": "received SNR, dB"}


def percent(entry: Mapping[str, Any] | None) -> str:
    """Write mean and spread of a fraction in percent."""
    if entry is None:
        return "-"
    return quoted(entry)


def accuracy_table(summary: Mapping[str, Any]) -> Table:
    """Return arms against tasks: final accuracy or error, mean and standard deviation over seeds, and baselines."""
    metrics = shown_metrics(summary)
    counts = [len(entry["values"]) for arm in summary["arms"].values() for entry in arm["final"].values()]
    seeds = max(counts, default=0)
    quantity = summary["headline"].partition("/")[0]
    title = f"{summary['scenario']}: test {quantity} in % after the last round, {seeds} seed{'s' * (seeds != 1)}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("arm", no_wrap=True)
    for metric in metrics:
        table.add_column(metric.removeprefix(f"{quantity}/"), justify="right", no_wrap=True)
    for name, arm in summary["arms"].items():
        table.add_row(name, *(percent(arm["final"].get(metric)) for metric in metrics))
    table.add_section()
    for label, quantity in (("majority class", "accuracy"), ("chance", "chance")):
        told = [summary["baselines"].get(metric.replace("accuracy", quantity, 1)) for metric in metrics]
        if any(value is not None for value in told):
            table.add_row(label, *("-" if b is None else f"{100 * b:.2f}" for b in told), style="dim")
    return table


def cost_table(summary: Mapping[str, Any]) -> Table:
    """Return what the arms cost over the whole run, all clients: the scheme's, and what only its simulation sent."""
    table = Table(title="cost of training, all clients", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("arm", no_wrap=True)
    for heading in COSTS:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, arm in summary["arms"].items():
        told = [[arm["final"].get(f"cost/{cost}") for cost in costs] for costs in COSTS.values()]
        totals = [None if None in entries else sum(entry["mean"] for entry in entries) / MILLION for entries in told]
        table.add_row(name, *("-" if total is None else f"{total:.2f}" for total in totals))
    return table


def measured(metric: str, entry: Mapping[str, Any] | None) -> str:
    """Write mean and spread of a power or of a ratio in dB."""
    if entry is None:
        return "-"
    if metric.endswith("-db") and abs(entry["mean"]) >= LIMIT_DB:
        return "no noise" if entry["mean"] > 0 else "no signal"
    spread = "" if entry["sd"] is None else f" ± {entry['sd']:.2f}"
    return f"{entry['mean']:.2f}{spread}"


def signal_table(summary: Mapping[str, Any]) -> Table | None:
    """Return what was sent and received in the last test, mean over clients; None if nothing was measured."""
    if not any(metric in arm["final"] for arm in summary["arms"].values() for metric in SIGNALS):
        return None
    title = "signal of the last test, mean over clients"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("arm", no_wrap=True)
    for heading in SIGNALS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for name, arm in summary["arms"].items():
        table.add_row(name, *(measured(metric, arm["final"].get(metric)) for metric in SIGNALS))
    return table


def show(summary: Mapping[str, Any], console: Console, names: list[str]) -> None:
    """Print the tables, and the clusters with the clients' names."""
    console.print(accuracy_table(summary))
    console.print(cost_table(summary))
    signals = signal_table(summary)
    if signals is not None:
        console.print(signals)
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
            show(folders.read_json(self.folder / folders.SUMMARY), terminal.console(width=120), self._names)
            if error is None:
                drawing.draw(self.folder)
        print(f"run folder: {self.folder}", flush=True)
