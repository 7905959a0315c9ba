"""What a run needs of a strategy beside its algorithm: true numbers of its rounds, and its memory.

Flower's `Strategy.start` counts from 1 in a resumed run, too: `ResumedStrategy` stands between both.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    Bulyan,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
    Strategy,
)

from semfed.checkpoint.files import Arrays
from semfed.errors import CheckpointError
from semfed.events.spans import span
from semfed.flower.server.federation import Federation
from semfed.flower.server.strategy import FederatedStrategy

STOCK: dict[Any, tuple[str, ...]] = {
    **dict.fromkeys((FedAvg, FedProx, FedMedian, FedTrimmedAvg, Krum, MultiKrum, Bulyan, QFedAvg), ()),
    FedAvgM: ("current_arrays", "momentum_vector"),
    **dict.fromkeys((FedAdagrad, FedAdam, FedYogi), ("m_t", "v_t")),
}
"""Flower's own strategies of which it is known what they keep between rounds: attributes with their momenta."""


@runtime_checkable
class KeepsState(Protocol):
    """A strategy that says what it keeps; see `semfed.flower.server.strategy.FederatedStrategy`."""

    def state(self) -> Arrays:
        """Return what a resumed run needs beside the arrays that `aggregate_train` returned last."""

    def restore(self, arrays: Arrays, state: Arrays) -> None:
        """Go on from these arrays and from what `state` returned."""


class ResumedStrategy(Strategy):
    """Lets a strategy see the true numbers of its rounds.

    Parameters
    ----------
    strategy : Strategy
        It has just been made.
    done : int
        Rounds that are behind it.
    """

    def __init__(self, strategy: Strategy, done: int = 0) -> None:
        self.strategy, self.done = strategy, done

    def open(self, federation: Federation) -> None:
        """Let a strategy of this package look at its clients."""
        if isinstance(self.strategy, FederatedStrategy):
            self.strategy.open(federation)

    @span("broadcast")
    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure the true round."""
        return self.strategy.configure_train(self.done + server_round, arrays, config, grid)

    @span("aggregation")
    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate the true round."""
        aggregated = self.strategy.aggregate_train(self.done + server_round, replies)
        _exhaust(replies)
        return aggregated

    @span("broadcast")
    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure the true round."""
        return self.strategy.configure_evaluate(self.done + server_round, arrays, config, grid)

    @span("aggregation")
    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Aggregate the true round."""
        aggregated = self.strategy.aggregate_evaluate(self.done + server_round, replies)
        _exhaust(replies)
        return aggregated

    def summary(self) -> None:
        """Log the strategy's own summary."""
        self.strategy.summary()


def _exhaust(replies: Iterable[Message]) -> None:
    """Let all messages travel, also those of which a strategy did not want the replies."""
    for _ in replies:
        pass


def require_word(kind: type[Strategy]) -> None:
    """Refuse a strategy of which nobody has said what it keeps between rounds.

    The class has to say it itself, for it may add something to what its base keeps: ``stateless = True`` if it adds
    nothing, else ``state`` and ``restore``. Of Flower's own it is known.

    Raises
    ------
    CheckpointError
        If it does not say.
    """
    own = vars(kind)
    if kind not in STOCK and own.get("stateless") is not True and not {"state", "restore"} <= own.keys():
        raise CheckpointError(
            f"strategy {kind.__name__!r} does not say itself what it keeps between rounds: write stateless = True into "
            "the class if it adds nothing to its base, else state() and restore(), or set checkpoint_every = 0"
        )


def memory(strategy: Strategy) -> Arrays:
    """Return what a strategy must not forget beside the shared arrays: a stock one's momenta, and its own `state`.

    Raises
    ------
    CheckpointError
        If it is a strategy of which that is not known; see `require_word`.
    """
    require_word(type(strategy))
    kept: Arrays = {}
    for attribute in _momenta(strategy):
        value = getattr(strategy, attribute)
        if isinstance(value, ArrayRecord):
            value = {name: array.numpy() for name, array in value.items()}
        if isinstance(value, Sequence):
            value = {str(k): array for k, array in enumerate(value)}
        kept |= {f"{attribute}/{name}": np.asarray(array) for name, array in (value or {}).items()}
    return kept | (strategy.state() if isinstance(strategy, KeepsState) else {})


def restore(strategy: Strategy, arrays: Arrays, kept: Arrays) -> None:
    """Put back what `memory` returned; `arrays` are those that `aggregate_train` returned last."""
    own = dict(kept)
    for attribute in _momenta(strategy):
        prefix = f"{attribute}/"
        momenta = {name.removeprefix(prefix): own.pop(name) for name in kept if name.startswith(prefix)}
        if momenta:
            setattr(strategy, attribute, _as_kept(attribute, momenta))
    if isinstance(strategy, KeepsState):
        strategy.restore(arrays, own)


def _as_kept(attribute: str, arrays: dict[str, npt.NDArray[Any]]) -> Any:
    if attribute == "current_arrays":
        return ArrayRecord({name: Array(array) for name, array in arrays.items()})
    return list(arrays.values()) if attribute == "momentum_vector" else arrays


def _momenta(strategy: Strategy) -> tuple[str, ...]:
    """Return the attributes that the nearest of Flower's own strategies keeps, which may be a base."""
    return next((STOCK[kind] for kind in type(strategy).__mro__ if kind in STOCK), ())
