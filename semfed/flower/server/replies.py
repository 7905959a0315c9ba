"""The replies of one exchange, together with what belongs to it: who was asked, in which places, how far it has come.

Nothing of this is kept anywhere else, so it does not matter when, or beside which other exchange, replies are used up.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Error, Message

from semfed.errors import FederationError
from semfed.events.callbacks import ExchangeProgress
from semfed.flower import arrays as wire
from semfed.flower.arrays import Arrays
from semfed.flower.averaging import metrics_of, weight_of


class Replies(Iterator[Message]):
    """Gives the replies of an exchange one by one, in the order of the clients.

    Whoever wants none of them has to exhaust the iterator all the same: messages travel while it is used up.

    Parameters
    ----------
    places : mapping of int to int
        Place of every client that the exchange asks; see `places_of`.
    replies : iterable of Message
        At most one a client, ascending.
    tally : ExchangeProgress, optional
        Moved on by who makes the replies.

    Attributes
    ----------
    places : mapping of int to int
    tally : ExchangeProgress
        How many of them have answered so far.
    """

    def __init__(
        self, places: Mapping[int, int], replies: Iterable[Message], tally: ExchangeProgress | None = None
    ) -> None:
        self.places = places
        self.tally = tally or ExchangeProgress(len(places))
        self._replies = iter(replies)
        self._asked = False

    @classmethod
    def of(cls, replies: Iterable[Message]) -> "Replies":
        """Return replies as they are; any other iterable of them is a whole exchange, of those that answer in it."""
        if isinstance(replies, cls):
            return replies
        ordered = sorted(replies, key=lambda reply: reply.metadata.src_node_id)
        return cls(places_of(reply.metadata.src_node_id for reply in ordered), ordered)

    @property
    def total(self) -> int:
        """How many clients are asked, whether they answer or not."""
        return len(self.places)

    def only(self, replies: Iterable[Message]) -> "Replies":
        """Return some of these replies as ones of the same exchange: places and total stay."""
        return Replies(self.places, replies, self.tally)

    def updates(self) -> Iterator[tuple[Arrays, float]]:
        """Yield the arrays of every reply that has some, and its ``num-examples``.

        Raises
        ------
        FederationError
            If they have been asked for before: replies are used up as they come.
        """
        if self._asked:
            raise FederationError(
                "replies.updates() or replies.stacked() is called twice, but replies are used up as they come: call "
                "one of them, once"
            )
        self._asked = True
        for reply in self:
            (arrays,), (metrics,) = reply.content.array_records.values(), metrics_of([reply])
            yield wire.views(arrays), weight_of(metrics)

    def stacked(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Yield every array by name, those of all replies stacked: shape (replies, ...); it needs the memory of all."""
        every = [arrays for arrays, _ in self.updates()]
        for name in every[0] if every else ():
            yield name, np.stack([arrays[name] for arrays in every])

    def __next__(self) -> Message:
        """Return the next client's reply."""
        return next(self._replies)


def places_of(clients: Iterable[int]) -> dict[int, int]:
    """Return every client's place among them all, from 0, ascending: what the order of sums depends on.

    See `semfed.flower.averaging.Average`.
    """
    return {client: place for place, client in enumerate(sorted(clients))}


def in_order(clients: Iterable[int], replies: Iterable[tuple[int, Message]]) -> Iterator[tuple[int, Message]]:
    """Give replies in the order of the clients, each as soon as those of all clients before it are there."""
    order, ready = deque(clients), dict[int, Message]()
    for client, reply in replies:
        ready[client] = reply
        while order and order[0] in ready:
            due = order.popleft()
            yield due, ready.pop(due)


def sentence(error: Error) -> str:
    """Return the last telling line of an error's reason; Flower packs whole tracebacks into it."""
    lines = [line.strip().removesuffix("'>") for line in (error.reason or "").splitlines()]
    return next(filter(None, reversed(lines)), f"error code {error.code}")
