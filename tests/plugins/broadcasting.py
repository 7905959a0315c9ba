"""Strategies that say how replies become the next arrays, and no more."""

from collections import deque
from typing import Any

import numpy as np

from semfed.flower.arrays import Arrays
from semfed.flower.server.broadcast import BroadcastStrategy
from semfed.flower.server.replies import Replies


class Median(BroadcastStrategy):
    stateless = True

    def aggregate(self, replies: Replies) -> Arrays:
        return {name: np.median(stack, axis=0) for name, stack in replies.stacked()}


class Nameless(BroadcastStrategy):
    stateless = True

    def aggregate(self, replies: Replies) -> Arrays:
        return {"0": np.zeros(3)}


class First(BroadcastStrategy):
    """Looks at one reply and leaves the others."""

    stateless = True

    def aggregate(self, replies: Replies) -> Arrays:
        return next(replies.updates())[0]


class Held(BroadcastStrategy):
    """Holds the clients to what they got."""

    stateless = True

    def train_config(self, server_round: int) -> dict[str, Any]:
        return {"proximal-mu": 1e6}

    def aggregate(self, replies: Replies) -> Arrays:
        return {name: stack.mean(axis=0) for name, stack in replies.stacked()}


class Still(BroadcastStrategy):
    """Stays where it is: the next arrays are those that were sent."""

    stateless = True

    def aggregate(self, replies: Replies) -> Arrays:
        deque(replies.updates(), maxlen=0)
        return self.sent
