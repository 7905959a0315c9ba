"""A live display of how a run goes."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from semfed.checkpoint import Checkpoint
from semfed.events.callbacks import Callback, ExchangeProgress, Outcome
from semfed.events.metrics import FAILURE, FRAMEWORK, Metrics
from semfed.events.records import Record
from semfed.runs import folder as folders
from semfed.runs import terminal
from semfed.scenario import Scenario


class ClientsColumn(ProgressColumn):
    """How many clients have answered of those that were asked; read when the display is redrawn, ten times a second."""

    def render(self, task: Task) -> Text:
        """Look at the tally of the task."""
        tally: ExchangeProgress | None = task.fields.get("tally")
        return Text(f"{tally.answered}/{tally.asked} clients" if tally and tally.asked else "", style="dim")


class Progress(Callback):
    """One bar over all rounds of all arms and seeds: clients of this exchange, seconds a round, time left, headline.

    Without a terminal, as in the log of a batch system, it is a line a round.

    Parameters
    ----------
    console : Console, optional
        Where to show it; standard error by default, so that tables can be piped.
    debug : bool, default False
        Show tracebacks of clients, too.
    """

    def __init__(self, console: Console | None = None, *, debug: bool = False) -> None:
        self._debug = debug
        self.console = console or terminal.console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("rounds, left"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[last]}", markup=False),
            ClientsColumn(),
            console=self.console,
            transient=True,
        )
        self._before = Checkpoint("")
        self._headline, self._metrics = "", Metrics(FRAMEWORK)
        self._round = 0
        self._all = self._bars.add_task("starting", total=None, last="", tally=None)

    def on_resume(self, checkpoint: Checkpoint) -> None:
        """Count what was done before."""
        self._before = checkpoint

    def on_run_start(self, scenario: Scenario) -> None:
        """Show the bar."""
        self._scenario = scenario
        self._headline, self._metrics = scenario.headline, folders.declarations(scenario)
        total = sum(scenario.arm(arm).rounds for arm in scenario.arm_names) * len(scenario.seeds)
        self._bars.update(self._all, total=total, completed=self._before.rounds_done(scenario))
        if self.console.is_terminal:
            self._bars.start()

    def on_arm_start(self, arm: str, seed: int) -> None:
        """Say what runs now."""
        self._bars.update(self._all, description=f"{arm}, seed {seed}")

    def on_exchanges(self, tally: ExchangeProgress) -> None:
        """Show how many clients have answered."""
        self._bars.update(self._all, tally=tally)

    def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
        """Move on; print who was missing."""
        for record in records:
            if self._metrics.of(record.metric) == FAILURE:
                missing = f"{record.client!r} gave no usable reply ({record.note})"
                self.console.print(Text(f"{arm}, seed {seed}, round {round_}: {missing}", style="yellow"))
        self._round = round_
        if round_ == 0:
            return
        found = [record.value for record in records if record.metric == self._headline]  # one, or one a client
        last = ""
        if found:
            metric = self._metrics.of(self._headline)
            value = metric.scale * metric.over(found)
            last = f", {self._headline} {value:{metric.spec(value, 1)}} {metric.shown_unit}".rstrip()
        shown = f"{seconds:.2f} s/round{last}"
        self._bars.update(self._all, advance=1, last=shown)
        if not self.console.is_terminal:  # a log: bars leave no trace there
            self.console.print(f"{arm}, seed {seed}, round {round_}: {shown}", soft_wrap=True)

    def on_client_error(self, arm: str, seed: int, round_: int, client: str, phase: str, text: str) -> None:
        """Show the traceback, if that is asked for."""
        if self._debug:
            self.console.print(
                Text(f"{arm}, seed {seed}, round {round_}: {client} in {phase!r}\n{text}", style="yellow")
            )

    def on_arm_end(self, arm: str, seed: int, outcome: Outcome) -> None:
        """Say if it ended early; the table at the end has all else."""
        best = outcome.best_round
        if best is not None and best["stopped"]:
            self._bars.update(self._all, advance=self._scenario.arm(arm).rounds - self._round)
            said = f"stopped after round {self._round}, the best on the validation split is round {best['round']}"
            self.console.print(f"{arm}, seed {seed}: {said}", soft_wrap=True)

    def on_run_end(self, error: BaseException | None) -> None:
        """Take the bar away."""
        if self.console.is_terminal:
            self._bars.stop()
