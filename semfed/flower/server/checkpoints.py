"""When an arm makes its checkpoints, what is in them, and how it goes on from one."""

from collections.abc import Sequence
from logging import WARNING

from flwr.app import Array, ArrayRecord
from flwr.common import log
from flwr.serverapp.strategy import Strategy

from semfed.checkpoint import Checkpoint
from semfed.checkpoint.files import Tables
from semfed.events.best_round import BestRound
from semfed.events.callbacks import Callback
from semfed.events.metrics import VALIDATION
from semfed.events.spans import span
from semfed.flower.server import validation
from semfed.flower.server.federation import Federation
from semfed.flower.server.resume import ResumedStrategy, memory, restore

SAMPLES = "samples/"


class Checkpoints:
    """Makes the checkpoints of one arm with one seed and hands them to the callbacks.

    Parameters
    ----------
    federation : Federation
    strategy : Strategy
    callbacks : sequence of Callback
    resume : Checkpoint or None
        What this arm goes on from.
    best : BestRound, optional
        Follows the arm's validations.

    Attributes
    ----------
    done : int
        Rounds that were done before.
    round : int
        The round that is underway.
    arrays : ArrayRecord
        What to start with.
    aggregated : bool
        Whether those came from the strategy.

    Raises
    ------
    CheckpointError
        If checkpoints are asked for and the strategy does not say what it remembers.
    """

    def __init__(
        self,
        federation: Federation,
        strategy: Strategy,
        callbacks: Sequence[Callback],
        resume: Checkpoint | None,
        best: BestRound | None = None,
    ) -> None:
        self._federation, self._strategy, self._callbacks, self._best = federation, strategy, callbacks, best
        self._every = federation.trial.scenario.checkpoint_every if federation.ledger.run else 0
        if self._every and not federation.ledger.able:
            log(WARNING, "no checkpoints within arms: a node has no state-dir in its node config")
            self._every = 0
        if self._every:
            memory(strategy)
        self.done = resume.round or 0 if resume else 0
        self.aggregated = bool(resume and resume.aggregated)
        self.round = self.done
        self.arrays = federation.initial_arrays
        if resume is not None:
            self.arrays = ArrayRecord({name: Array(array) for name, array in resume.tables["arrays"].items()})

    def continued(self, resume: Checkpoint | None) -> ResumedStrategy:
        """Return the strategy with its clients, and its memory back, in a form that counts its rounds on."""
        runner = ResumedStrategy(self._strategy, self.done)
        runner.open(self._federation)
        if resume is not None:
            restore(self._strategy, resume.tables["arrays"], resume.tables["strategy"])
            for table, arrays in resume.tables.items():
                if table.startswith(SAMPLES):
                    self._federation.measured.samples[int(table.removeprefix(SAMPLES))] = arrays
            if self._best is not None:
                validation.restore(self._best, resume.tables[VALIDATION])
        return runner

    def aggregate(self, arrays: ArrayRecord) -> ArrayRecord:
        """Return the current arrays if they came from the strategy, none if the clients have only started from them."""
        return arrays if self.aggregated or arrays is not self.arrays else ArrayRecord()

    def before_round(self, round_: int) -> None:
        """Say that a round begins, and whether there will be a checkpoint at its end."""
        self.round = round_
        due = self._every > 0 and round_ % self._every == 0
        self._federation.ledger.due = round_ if due else None

    @span("checkpoint")
    def after_round(self, round_: int, arrays: ArrayRecord) -> None:
        """Make the checkpoint that is due. If a client's state cannot be kept, the last one stays the one to use."""
        federation = self._federation
        if federation.ledger.due is None or not self._keep():
            return
        tables: Tables = {
            "arrays": {name: array.numpy() for name, array in arrays.items()},
            "strategy": memory(self._strategy),
            **{f"{SAMPLES}{client}": shown for client, shown in federation.measured.samples.items()},
            **({} if self._best is None else {VALIDATION: validation.to_arrays(self._best)}),
        }
        self._tell(round_, aggregated=self.aggregated or arrays is not self.arrays, tables=tables)
        federation.ledger.commit()

    def after_arm(self) -> None:
        """Say that the arm is finished."""
        self._tell(None)

    def _keep(self) -> bool:
        """Let the nodes keep their clients' states; return whether all did, and record who did not as failures."""
        federation = self._federation
        problems = federation.ledger.keep(federation.exchange, federation.trial.scenario.timeout_s)
        for client, problem in problems.items():
            federation.measured.failed(client, "checkpoint", problem)
        return not federation.ledger.unkept

    def _tell(self, round_: int | None, *, aggregated: bool = False, tables: Tables | None = None) -> None:
        trial, ledger = self._federation.trial, self._federation.ledger
        if not ledger.run:
            return
        checkpoint = Checkpoint(
            run=ledger.run,
            arm=trial.arm,
            seed=trial.seed,
            round=round_,
            aggregated=aggregated,
            tables=tables or {},
            marks=ledger.marks if round_ is not None else {},
            trial=trial.digest,
        )
        for callback in self._callbacks:
            callback.on_checkpoint(checkpoint)
