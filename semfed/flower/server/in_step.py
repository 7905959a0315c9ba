"""A deployment's grid that keeps SuperNodes from sleeping while the next messages are on their way.

A SuperNode that finds no message sleeps for Flower's 3 s. Whoever answers last finds none, for the server sends the
next messages when it has all replies, so that every phase would begin with a sleep. Here a message is followed by
another one, which is answered when the server is expected to have sent the next messages: the node is busy until then,
and finds its own. A node that is late nevertheless is waited for by the others, which then are in step again. Replies
tell by a node's own clock when they were made; how that differs from the server's shows from the one that came soonest.
"""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from semfed.flower.packing import PACKED
from semfed.flower.protocol import WAIT
from semfed.flower.server.outer_grid import OuterGrid

SLEEP_S = 3.1
"""From one look of an idle SuperNode to the next: Flower's 3 s, and what asking takes."""
LOOKS_S = 0.1
"""From when the server can hear of an answer to the node's next look."""
SERVED_S = 0.5
"""What a message takes that is answered at once."""
PAUSE_S = 1.0
"""What to expect of the server before it was seen: from an answer that it can hear of to its next messages."""
MARGIN_S = 0.8
"""How much longer nodes are kept busy than expected; a SuperNode counts in half seconds."""
UNSURE_S = 1.0
"""How much longer after the first answer; after the second one half of it, and so on: the first may have come late."""
LONGEST_S = 5.0
"""Nodes that would have to be kept busy for longer may sleep: that is no longer what a phase costs."""
LATE_S = 2.5
"""A node that is kept busy for so much longer than asked is left alone: its processes start cold, or CPUs are short."""
RESTS = 10
"""For how many messages it is the first time; every further time for twice as many."""
MOST_NODES = 8
"""With more nodes the additional messages cost a SuperLink, one Python process, more time than they save."""
SEEN = 5
"""So many messages and pauses back are taken for what comes."""
PUSHED_S = 0.3
"""So long before all messages are sent, the first one may have been found."""
HEARD = 20
"""So many answers back the one is looked for that came soonest."""


@dataclass
class _Node:
    """Times are the server's: when it could hear at the soonest of what the node did."""

    lags: deque[float] = field(default_factory=lambda: deque(maxlen=HEARD))
    """From its clock's time of an answer to when the server has heard of it."""
    free: float | None = None
    """When it has answered all messages; None if it was never seen."""
    asleep: bool = True
    """Whether it has looked for a message then, and found none."""
    kind: str = ""
    sent: float | None = None
    """When it was sent a message of that kind which it has not answered."""
    since: float = 0.0
    """When it began with its last message."""
    until: float | None = None
    """Until when it is kept busy after it."""
    took: dict[str, deque[float]] = field(default_factory=dict)
    """How long it had its last messages of a kind."""
    alone: int = 0
    """For how many messages it is left alone."""
    rests: int = RESTS

    def told(self, created: float | None, now: float) -> float:
        """Note an answer that was made at this time of the node's clock; return when one could have heard of it."""
        if created is None:
            return now
        self.lags.append(now - created)
        return created + min(self.lags)

    def its_time(self, when: float) -> float:
        """Return what its clock shows then, or somewhat more as long as little was heard of it."""
        return when - min(self.lags) + UNSURE_S / len(self.lags)

    def next_look(self, now: float) -> float:
        look = now if self.free is None else self.free + LOOKS_S
        if look >= now or not self.asleep:
            return max(look, now)
        return look + math.ceil((now - look) / SLEEP_S) * SLEEP_S

    def ready(self) -> float:
        return self.since + statistics.median_low(self.took.get(self.kind, [SERVED_S]))


class Steps:
    """What is known of when nodes look for messages, and from it until when to keep each busy.

    Parameters
    ----------
    clock : callable
        Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._nodes: dict[int, _Node] = {}
        self._last: tuple[str, float] | None = None
        self._pauses: dict[str, deque[float]] = {}

    def sent(self, kinds: Mapping[int, str]) -> dict[int, float]:
        """Note that nodes were sent messages of these kinds; return until what time of its clock to keep each busy.

        A node is not named if that would be for much longer than a sleep, if it took much longer before, and if
        nothing was heard of it yet.
        """
        now = self._clock()
        if self._last is not None:
            kind, told = self._last
            if now - told <= LONGEST_S:  # what is longer happens once, such as the drawing of a plot
                self._pauses.setdefault(kind, deque(maxlen=SEEN)).append(now - told)
            self._last = None
        nodes = {name: self._nodes.setdefault(name, _Node()) for name in kinds}
        for name, node in nodes.items():
            node.kind, node.sent, node.since = kinds[name], now, node.next_look(now)
        pause = max(max(self._pauses.get(kind, [PAUSE_S])) for kind in kinds.values())
        until = max(node.ready() for node in nodes.values()) + pause + MARGIN_S - LOOKS_S
        for node in nodes.values():
            kept = node.lags and not node.alone and until - node.ready() <= LONGEST_S
            node.until, node.alone = until if kept else None, max(node.alone - 1, 0)
        return {name: node.its_time(until) for name, node in nodes.items() if node.until is not None}

    def replied(self, name: int, created: float | None) -> None:
        """Note that a node has answered what it was sent, at this time of its clock; None for an error."""
        now, node = self._clock(), self._nodes[name]
        told = node.told(created, now)
        self._last = node.kind, max(told, self._last[1] if self._last else told)
        if node.free is not None and told > node.since:
            node.took.setdefault(node.kind, deque(maxlen=SEEN)).append(told - node.since)
        node.asleep, node.sent = node.until is None, None
        node.free = told if node.until is None else max(node.until, told + SERVED_S)

    def waited(self, name: int, created: float | None) -> None:
        """Note that a node is no longer busy since this time of its clock; None for an error."""
        now, node = self._clock(), self._nodes[name]
        told = node.told(created, now)
        if not node.alone and not node.asleep and node.free is not None and told > node.free + LATE_S:
            node.alone, node.rests = node.rests, 2 * node.rests
        node.free, node.asleep = told, True
        if node.sent is not None and told + PUSHED_S >= node.sent:
            node.since = max(told + LOOKS_S, node.sent)


class InStepGrid(OuterGrid):
    """A SuperLink's grid whose nodes, if they are few, do not sleep between phases; for a `ReliableGrid` around it.

    Parameters
    ----------
    grid : Grid
        Flower's ``HttpGrid``.
    steps : Steps, optional
    """

    def __init__(self, grid: Grid, steps: Steps | None = None) -> None:
        super().__init__(grid)
        self._steps = steps or Steps()
        self._asked: dict[str, int] = {}
        self._waiting: dict[str, int] = {}

    def get_nodes(self) -> Any:
        """Pass on to Flower's grid, which tells who is online."""
        return self.grid.get_nodes()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Not offered."""
        raise NotImplementedError("put a ReliableGrid around an InStepGrid")

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Pass messages on; those to this package's clients are followed by one that keeps the node busy."""
        given = list(messages)
        taken = list(self.grid.push_messages(given))
        followed = {
            id_: message.metadata
            for id_, message in zip(taken, given, strict=True)
            if id_ and PACKED in message.content
        }
        if 0 < len(followed) <= MOST_NODES:
            self._asked |= {id_: about.dst_node_id for id_, about in followed.items()}
            until = self._steps.sent({about.dst_node_id: about.message_type for about in followed.values()})
            behind = [
                Message(RecordDict({WAIT: ConfigRecord({"until": when, "seconds": LONGEST_S})}), node, WAIT)
                for node, when in until.items()
            ]
            self._waiting |= {
                id_: node for id_, node in zip(self.grid.push_messages(behind), until, strict=True) if id_
            }
        return taken

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come to these messages."""
        replies = []
        pulled = self.grid.pull_messages([*message_ids, *self._waiting])
        for reply in sorted(pulled, key=lambda reply: reply.metadata.created_at):
            asked = reply.metadata.reply_to_message_id
            created = None if reply.has_error() else reply.metadata.created_at  # errors may be a SuperLink's own
            if asked in self._waiting:
                self._steps.waited(self._waiting.pop(asked), created)
                continue
            if asked in self._asked:
                self._steps.replied(self._asked.pop(asked), created)
            replies.append(reply)
        return replies
