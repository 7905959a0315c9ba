"""A live display of how a run goes."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from semfed.checkpoint import Checkpoint
from semfed.events.callbacks import Callback, ExchangeProgress, Outcome, TrialsProgress
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

    Without a terminal, as in the log of a batch system, it is a line a round, or a line a trial if trials run side by
    side.

    Parameters
    ----------
    console : Console, optional
        Where to show it; standard error by default, so that tables can be piped.
    debug : bool, default False
        Show tracebacks of clients, too.

    Attributes
    ----------
    live : bool
        Whether the display can change, so that no line has to be left for every round.
    """

    def __init__(self, console: Console | None = None, *, debug: bool = False) -> None:
        self._debug = debug
        self.console = console or terminal.console(stderr=True)
        self.live = self.console.is_terminal
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
        self._trials: TrialsProgress | None = None
        self._seconds, self._rounds, self._last = 0.0, 0, ""
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

    def changed(self) -> None:
        """Show what has changed; a terminal's display does so by itself."""

    def on_arm_start(self, arm: str, seed: int) -> None:
        """Say what runs now."""
        self._seconds, self._rounds, self._last = 0.0, 0, ""
        if self._trials is None:
            self._bars.update(self._all, description=f"{arm}, seed {seed}")
        self.changed()

    def on_trials(self, progress: TrialsProgress) -> None:
        """Show how far all trials are together; say once how many run side by side, and why."""
        if self._trials is None:
            many = "1 trial at a time" if progress.jobs == 1 else f"{progress.jobs} trials side by side"
            self.console.print(f"{many}: {progress.why}", soft_wrap=True)
        if progress.jobs == 1:
            return
        self._trials = progress
        self._bars.update(
            self._all,
            description=f"{progress.trials_done}/{progress.trials} trials, {progress.jobs} at a time",
            total=progress.rounds,
            completed=progress.rounds_done,
            last="",
            tally=None,
        )
        self.changed()

    def on_exchanges(self, tally: ExchangeProgress) -> None:
        """Show how many clients have answered, where one trial runs."""
        if self._trials is None:
            self._bars.update(self._all, tally=tally)
        self.changed()

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
        self._seconds, self._rounds, self._last = self._seconds + seconds, self._rounds + 1, last
        if self._trials is not None:
            return
        shown = f"{seconds:.2f} s/round{last}"
        self._bars.update(self._all, advance=1, last=shown)
        self.changed()
        if not self.live:  # a log: bars leave no trace there
            self.console.print(f"{arm}, seed {seed}, round {round_}: {shown}", soft_wrap=True)

    def on_client_error(self, arm: str, seed: int, round_: int, client: str, phase: str, text: str) -> None:
        """Show the traceback, if that is asked for."""
        if self._debug:
            self.console.print(
                Text(f"{arm}, seed {seed}, round {round_}: {client} in {phase!r}\n{text}", style="yellow")
            )

    def on_arm_end(self, arm: str, seed: int, outcome: Outcome) -> None:
        """Say how it ended in a log of trials that run side by side, and if it ended early."""
        if self._trials is not None and not self.live:
            self.console.print(
                f"{arm}, seed {seed}: {self._rounds} rounds in {self._seconds:.1f} s{self._last}", soft_wrap=True
            )
        best = outcome.best_round
        if best is not None and best["stopped"]:
            self._bars.update(self._all, advance=self._scenario.arm(arm).rounds - self._round)
            said = f"stopped after round {self._round}, the best on the validation split is round {best['round']}"
            self.console.print(f"{arm}, seed {seed}: {said}", soft_wrap=True)

    def on_run_end(self, error: BaseException | None) -> None:
        """Take the bar away."""
        if self.console.is_terminal:
            self._bars.stop()
