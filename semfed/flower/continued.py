"""A strategy that goes on after some rounds: Flower's `Strategy.start` counts from 1, this one from where it was."""

from collections.abc import Iterable, Sequence
from typing import Any

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

from semfed.errors import CheckpointError
from semfed.flower.federation import Federation
from semfed.flower.strategy import FederatedStrategy
from semfed.weights import Arrays

WITHOUT_MEMORY = (FedAvg, FedProx, FedMedian, FedTrimmedAvg, Krum, MultiKrum, Bulyan, QFedAvg)
MEMORY: dict[Any, tuple[str, ...]] = {
    FedAvgM: ("current_arrays", "momentum_vector"),
    **dict.fromkeys((FedAdagrad, FedAdam, FedYogi), ("m_t", "v_t")),
}
"""Attributes in which Flower's own strategies keep momenta from round to round."""


class Continued(Strategy):
    """Lets a strategy see the true numbers of its rounds.

    Parameters
    ----------
    strategy : Strategy
        It has just been made.
    done : int
        Rounds that are behind it.
    """

    def __init__(self, strategy: Strategy, done: int) -> None:
        self.strategy, self.done = strategy, done

    def open(self, federation: Federation, arrays: Arrays, state: Arrays) -> None:
        """Put back what the strategy knew after its last round."""
        if isinstance(self.strategy, FederatedStrategy):
            self.strategy.federation = federation
            self.strategy.prepare(federation)
            self.strategy.restore(arrays, state)
        else:
            restore_stock(self.strategy, state)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure the true round."""
        return self.strategy.configure_train(self.done + server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate the true round."""
        return self.strategy.aggregate_train(self.done + server_round, replies)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure the true round."""
        return self.strategy.configure_evaluate(self.done + server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Aggregate the true round."""
        return self.strategy.aggregate_evaluate(self.done + server_round, replies)

    def summary(self) -> None:
        """Log the strategy's own summary."""
        self.strategy.summary()


def memory(strategy: Strategy) -> Arrays:
    """Return what a strategy must not forget beside the shared arrays: its own `state`, or a stock one's momenta.

    Raises
    ------
    CheckpointError
        If it is a strategy of which that is not known.
    """
    if isinstance(strategy, FederatedStrategy):
        return strategy.state()
    kept: Arrays = {}
    for attribute in _attributes(strategy):
        value = getattr(strategy, attribute)
        if isinstance(value, ArrayRecord):
            value = {name: array.numpy() for name, array in value.items()}
        if isinstance(value, Sequence):
            value = {str(k): array for k, array in enumerate(value)}
        kept |= {f"{attribute}/{name}": np.asarray(array) for name, array in (value or {}).items()}
    return kept


def restore_stock(strategy: Strategy, state: Arrays) -> None:
    """Put the momenta of one of Flower's own strategies back."""
    for attribute in _attributes(strategy):
        prefix = f"{attribute}/"
        arrays = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
        if arrays:
            setattr(strategy, attribute, _as_kept(attribute, arrays))


def _as_kept(attribute: str, arrays: dict[str, npt.NDArray[Any]]) -> Any:
    if attribute == "current_arrays":
        return ArrayRecord({name: Array(array) for name, array in arrays.items()})
    return list(arrays.values()) if attribute == "momentum_vector" else arrays


def _attributes(strategy: Strategy) -> tuple[str, ...]:
    kind: type[Any] = type(strategy)
    if kind in MEMORY:
        return MEMORY[kind]
    if kind in WITHOUT_MEMORY:
        return ()
    raise CheckpointError(
        f"strategy {kind.__name__!r} does not say what it keeps between rounds: set checkpoint_every = 0, or derive it "
        "from semfed's FederatedStrategy with state() and restore()"
    )
