"""What all trackers have in common: one tracked run for every arm with every seed, and no harm to the run itself."""

import hashlib
import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from semfed.checkpoint import Checkpoint
from semfed.events.callbacks import Callback, Outcome
from semfed.events.records import Record
from semfed.runs import folder as folders
from semfed.runs.summary import curves
from semfed.scenario import Scenario


class Tracker(Callback):
    """Tells another program the metrics of every arm and seed, by round, with the resolved scenario.

    A tracker that fails warns once and is heard of no more: the run folder has everything anyway.

    Parameters
    ----------
    folder : Path
        The run folder.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._failed = False
        self._open = False
        self._before = Checkpoint("")

    @classmethod
    def require_ready(cls) -> None:
        """Refuse, before anything runs, what could only fail later; raises ScenarioError."""

    @abstractmethod
    def begin(self, arm: str, seed: int, scenario: Scenario, done: int) -> None:
        """Begin to track an arm with a seed.

        Parameters
        ----------
        arm : str
        seed : int
        scenario : Scenario
            The arm's, resolved.
        done : int
            Rounds that have been tracked before, if the run goes on.
        """

    @abstractmethod
    def log(self, round_: int, values: Mapping[str, float]) -> None:
        """Take a round's metrics over all clients, by their recorded names."""

    @abstractmethod
    def end(self, result: Mapping[str, Any], *, failed: bool) -> None:
        """Finish what was begun; `result` is the best round on the validation split, where there is one."""

    # -- what a run calls -------------------------------------------------------------------------------------

    def on_resume(self, checkpoint: Checkpoint) -> None:
        """Take note of how far the run had come."""
        self._before = checkpoint

    def on_run_start(self, scenario: Scenario) -> None:
        """Take the scenario."""
        self._scenario, self._metrics = scenario, folders.declarations(scenario)

    def on_arm_start(self, arm: str, seed: int) -> None:
        """Begin a tracked run."""
        again = (arm, seed) == (self._before.arm, self._before.seed)
        done = self._before.round or 0 if again else 0
        self._try(lambda: self.begin(arm, seed, self._scenario.arm(arm), done))
        self._open = True

    def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
        """Pass on what holds for all clients together."""
        found = curves(records, self._metrics).get(arm, {})
        values = {name: seeds[seed][round_] for name, seeds in found.items()}
        self._try(lambda: self.log(round_, values))

    def on_arm_end(self, arm: str, seed: int, outcome: Outcome) -> None:
        """Finish the tracked run."""
        self._finish({f"best_round/{name}": value for name, value in (outcome.best_round or {}).items()}, failed=False)

    def on_run_end(self, error: BaseException | None) -> None:
        """Finish what an error has left unfinished."""
        self._finish({}, failed=True)

    # -- inside -----------------------------------------------------------------------------------------------

    def identity(self, arm: str, seed: int) -> str:
        """Return what a tracked run is found again by when its run goes on."""
        return hashlib.sha256(f"{self.folder.resolve()} {arm} {seed}".encode()).hexdigest()[:16]

    def _finish(self, result: Mapping[str, Any], *, failed: bool) -> None:
        if self._open:
            self._open = False
            self._try(lambda: self.end(result, failed=failed))

    def _try(self, action: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:  # whatever another program's client raises
            self._failed = True
            logging.getLogger(__name__).warning(
                "tracker '%s' failed (%s: %s) and is left out from here on; the run goes on, and its folder has all",
                self.name,
                type(error).__name__,
                str(error).strip().partition("\n")[0],
            )
