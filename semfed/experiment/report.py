"""The table that a run ends with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from semfed.callbacks import Callback
from semfed.experiment import folder as folders
from semfed.scenario import Scenario

MEGA = 1e6


def shown_metrics(summary: Mapping[str, Any]) -> list[str]:
    """Return the accuracies of all arms, or the errors where none is measured: tasks in order, the average last."""
    names = dict.fromkeys(name for arm in summary["arms"].values() for name in arm["final"])
    for quantity in ("accuracy", "error"):
        found = sorted(name for name in names if name.startswith(f"{quantity}/") and name != f"{quantity}/average")
        if found:
            return found + [name for name in names if name == f"{quantity}/average"]
    return []


def percent(entry: Mapping[str, Any] | None) -> str:
    """Write mean and spread of a fraction in percent."""
    if entry is None:
        return "-"
    spread = "" if entry["sd"] is None else f" ± {100 * entry['sd']:.2f}"
    return f"{100 * entry['mean']:.2f}{spread}"


def accuracy_table(summary: Mapping[str, Any]) -> Table:
    """Return arms against tasks: final accuracy or error, mean and standard deviation over seeds, then its cost."""
    metrics = shown_metrics(summary)
    seeds = max(
        (len(next(iter(arm["final"].values()))["values"]) for arm in summary["arms"].values() if arm["final"]),
        default=0,
    )
    quantity = metrics[0].partition("/")[0] if metrics else "accuracy"
    table = Table(title=f"{summary['scenario']}: test {quantity} after the last round in %, {seeds} seed(s)")
    table.add_column("arm")
    for metric in metrics:
        table.add_column(metric.removeprefix(f"{quantity}/"), justify="right")
    for heading in ("MB up", "MB down", "channel uses"):
        table.add_column(heading, justify="right")
    for name, arm in summary["arms"].items():
        final = arm["final"]
        costs = [final.get(f"cost/{what}") for what in ("bytes_up", "bytes_down", "channel_uses")]
        table.add_row(
            name,
            *(percent(final.get(metric)) for metric in metrics),
            *("-" if cost is None else f"{cost['mean'] / MEGA:.2f}" for cost in costs[:2]),
            "-" if costs[2] is None else f"{costs[2]['mean'] / MEGA:.2f} M",
        )
    table.add_section()
    baselines = [summary["baselines"].get(metric) for metric in metrics]
    table.add_row(
        "[dim]majority class[/dim]",
        *(f"[dim]{100 * value:.2f}[/dim]" if value is not None else "-" for value in baselines),
        "", "", "",
    )  # fmt: skip
    return table


def show(summary: Mapping[str, Any], console: Console, names: list[str]) -> None:
    """Print the table, and the clusters with the clients' names."""
    console.print(accuracy_table(summary))
    for arm, clusters in summary["clusters"].items():
        text = ", ".join("{" + ", ".join(names[client] for client in cluster) + "}" for cluster in clusters)
        console.print(f"  {arm}: {text}", highlight=False)
    if summary["threshold"] is not None:
        console.print(f"  similarity threshold: {summary['threshold']:.6f}", highlight=False)
    if not summary["complete"]:
        console.print(f"[red]incomplete:[/red] {summary['error']}", highlight=False)


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
        from semfed.experiment.plots import plot

        if (self.folder / folders.SUMMARY).is_file():
            show(folders.read_json(self.folder / folders.SUMMARY), Console(width=120), self._names)
            if error is None:
                plot(self.folder)
        print(f"run folder: {self.folder}", flush=True)
