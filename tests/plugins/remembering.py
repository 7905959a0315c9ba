"""Strategies of third parties: such as keep something between rounds, and such as keep nothing; some say so."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Message
from flwr.serverapp import strategy as flower
from semfed.strategies.fedavg import FedAvg

from semfed.checkpoint.files import Arrays
from semfed.flower import arrays as wire


def scaled(arrays: ArrayRecord | None, factor: float) -> ArrayRecord:
    return wire.record({name: array.numpy() * np.float32(factor) for name, array in (arrays or {}).items()})


class Counting(FedAvg):
    """Shrinks the average the more, the more rounds it has seen, and does not say that it counts them."""

    seen = 0

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        self.seen += 1
        arrays, metrics = super().aggregate_train(server_round, replies)
        return scaled(arrays, 1 - 0.02 * self.seen), metrics


class Remembering(Counting):
    """Does the same and says so."""

    def state(self) -> Arrays:
        return {"seen": np.array(self.seen)}

    def restore(self, arrays: Arrays, state: Arrays) -> None:
        self.seen = int(state["seen"])


class Half(FedAvg):
    """Says only what it keeps, and not how to go on from it."""

    def state(self) -> Arrays:
        return {}


class Plain(FedAvg):
    """Adds nothing and does not say so."""


class Shrinking(FedAvg):
    """Keeps nothing and says so."""

    stateless = True

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        arrays, metrics = super().aggregate_train(server_round, replies)
        return scaled(arrays, 0.95), metrics


class Heir(Shrinking):
    """Relies on its base's word, which does not hold for what it may add itself."""


class Adam(flower.FedAdam):
    """Adds nothing to Flower's momenta and does not say so."""


class StatelessAdam(flower.FedAdam):
    """Adds nothing to Flower's momenta and says so."""

    stateless = True


class CountingAdam(flower.FedAdam):
    """Keeps a number beside Flower's momenta."""

    seen = 0

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        self.seen += 1
        arrays, metrics = super().aggregate_train(server_round, replies)
        return scaled(arrays, 1 - 0.02 * self.seen), metrics

    def state(self) -> Arrays:
        return {"seen": np.array(self.seen)}

    def restore(self, arrays: Arrays, state: Arrays) -> None:
        assert set(state) == {"seen"}
        self.seen = int(state["seen"])


class Hurried(FedAvg):
    """Has rounds of its own, which nobody would count."""

    stateless = True

    def start(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("never called")


class NoStrategy:
    """Averages, and is none of Flower's strategies."""

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        return None, None
