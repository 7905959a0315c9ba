"""Callbacks: what wants to know how a run goes, without being in its way."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from semfed.events.records import Record

if TYPE_CHECKING:  # the command line handles signals by a callback, and need not wait for torch to say --help
    from semfed.checkpoint import Checkpoint
    from semfed.scenario import Scenario


@dataclass(frozen=True)
class Outcome:
    """What one arm with one seed leaves behind, beside its records.

    Attributes
    ----------
    arrays : mapping of str to ndarray
        Final parameters that the strategy holds.
    details : mapping
        What the strategy found out, such as clusters; values that JSON can hold.
    baselines : mapping of str to float
        What a trivial decision reaches, by metric.
    samples : mapping of str to ndarray
        What clients showed of their last test, such as received features: ``<name>/<client>``.
    best_round : mapping or None
        Which round was the best on the validation split, see `BestRound.told`; None without one.
    """

    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    samples: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    best_round: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class TrainedNetworks:
    """The networks that a client decides with after a round.

    Attributes
    ----------
    client : int
    round : int
    own : mapping of str to ndarray
        Its weights and buffers, by names as in `semfed.training.objective.Networks`, but for the following.
    shared : mapping of str to ndarray
        What the server holds; one and the same object for clients that have the same.
    received : mapping of str to str
        From names of further weights of the client to names in `shared`.
    config : mapping of str to object
        What the server says about them, as in a message of ``evaluate``.
    images : mapping of str to object
        The fields of `semfed.data.dataset.ImageFormat`.
    problem : str
        Why there are none; empty if there are.
    """

    client: int
    round: int
    own: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    shared: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    received: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass
class ExchangeProgress:
    """How far one exchange of messages has come; it changes while they travel.

    Attributes
    ----------
    asked : int
        Clients that were sent a message.
    answered : int
        Clients whose reply is here, or known to be missing.
    """

    asked: int = 0
    answered: int = 0


@dataclass(frozen=True)
class TrialsProgress:
    """How far the trials of a run have come that run side by side.

    Attributes
    ----------
    jobs : int
        How many do.
    why : str
        Why so many.
    trials, trials_done : int
    rounds, rounds_done : int
        Of all trials.
    """

    jobs: int
    why: str
    trials: int
    trials_done: int
    rounds: int
    rounds_done: int


def array_digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes: equal for equal parameters only."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


class Callback:
    """Base of callbacks: override what you want to know. They are called in the server's process, in order.

    Raises
    ------
    TypeError
        From the definition of a subclass with another method ``on_...``, which nobody would ever call.
    """

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        for name in vars(cls):
            if name.startswith("on_") and not hasattr(Callback, name):
                close = get_close_matches(name, vars(Callback), n=1)
                meant = f"did you mean {close[0]}?" if close else "call it otherwise"
                raise TypeError(f"{cls.__name__}.{name}: callbacks hear of no such thing; {meant}")

    def on_resume(self, checkpoint: "Checkpoint") -> None:
        """Take note, before the run starts, that it goes on from a checkpoint; what was before is not told again."""

    def on_run_start(self, scenario: "Scenario") -> None:
        """Take note of what is going to run."""

    def on_arm_start(self, arm: str, seed: int) -> None:
        """Take note that an arm starts with a seed."""

    def on_exchanges(self, tally: ExchangeProgress) -> None:
        """Take the tally of an exchange that begins, to look at it at any time; only where the server runs here."""

    def on_trials(self, progress: TrialsProgress) -> None:
        """Take, again and again, how far trials are that run side by side.

        They are told one by one nevertheless, in the order of the grid, each when it is complete.
        """

    def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
        """Take the records of a finished round; round 0 is what comes before the first."""

    def on_client_error(self, arm: str, seed: int, round_: int, client: str, phase: str, text: str) -> None:
        """Take what a client's code said when it raised, with its traceback where the engine tells one."""

    def on_checkpoint(self, checkpoint: "Checkpoint") -> None:
        """Take what the run could go on from: after `on_round`, and once more after `on_arm_end`."""

    def on_networks(self, arm: str, seed: int, networks: TrainedNetworks) -> None:
        """Take the networks of a client, or word that there are none: client by client, before `on_arm_end`.

        A scenario that keeps the best round's has them told after every round that is better than all before.
        """

    def on_arm_end(self, arm: str, seed: int, outcome: Outcome) -> None:
        """Take what an arm with one seed leaves behind."""

    def on_run_end(self, error: BaseException | None) -> None:
        """Finish; `error` is what ended the run early. It is called in any case."""
