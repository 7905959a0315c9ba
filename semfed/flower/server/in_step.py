"""A deployment's grid that keeps SuperNodes from sleeping while the next messages are on their way.

A SuperNode that finds no message sleeps for Flower's 3 s. Whoever answers last finds none, for the server sends the
next messages when it has all replies, so that every phase would begin with a sleep. Here a message is followed by
another one, whose answer takes as long as the server is expected to need: the node is busy meanwhile, and when it has
answered it finds the next message. A node that is late nevertheless is waited for by the others, which then are in step
again.
"""

import math
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
SERVED_S = 0.8
"""What a message takes that is answered at once, of which half a second is Flower's."""
HEARD_S = 0.4
"""How late the server hears of a reply."""
MARGIN_S = 0.7
"""How much longer nodes are kept busy than expected; a SuperNode counts in half seconds."""
PAUSE_S = 0.2
"""What to expect of the server before it was seen."""
LONGEST_S = 5.0
"""Nodes that would have to be kept busy for longer may sleep: that is no longer what a phase costs."""
LATE_S = 1.5
"""A node that is kept busy for so much longer than asked is left alone: its processes start cold, or CPUs are short."""
RESTS = 10
"""For how many messages it is the first time; every further time for twice as many."""
MOST_NODES = 8
"""With more nodes the additional messages cost a SuperLink, one Python process, more time than they save."""


@dataclass
class _Node:
    looks: float | None = None
    """When it looks for a message; None if it was never seen."""
    asleep: bool = False
    """Whether it has looked then and found none."""
    kind: str = ""
    since: float = 0.0
    """When it began with its last message, which was of that kind."""
    busy: float = 0.0
    """How long it will be kept busy after it."""
    took: dict[str, deque[float]] = field(default_factory=dict)
    """How long it had its last messages of a kind."""
    alone: int = 0
    """For how many messages it is left alone."""
    rests: int = RESTS

    def next_look(self, now: float) -> float:
        if self.looks is None or self.looks >= now:
            return self.looks or now
        return self.looks + math.ceil((now - self.looks) / SLEEP_S) * SLEEP_S if self.asleep else now

    def ready(self) -> float:
        return self.since + min(self.took.get(self.kind, [SERVED_S]))  # the shortest: the rest is chance


class Steps:
    """What is known of when nodes look for messages, and from it how long to keep each busy.

    Parameters
    ----------
    clock : callable
        Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._nodes: dict[int, _Node] = {}
        self._last: tuple[str, float] | None = None
        self._pauses: dict[str, float] = {}

    def sent(self, kinds: Mapping[int, str]) -> dict[int, float]:
        """Note that nodes were sent messages of these kinds; return for how many seconds to keep them busy afterwards.

        A node is not named if that would be for much longer than a sleep, or took much longer before.
        """
        now = self._clock()
        if self._last is not None:
            kind, replied = self._last
            self._pauses[kind], self._last = now - replied, None
        nodes = {name: self._nodes.setdefault(name, _Node()) for name in kinds}
        for name, node in nodes.items():
            node.kind, node.since = kinds[name], node.next_look(now)
        pause = max((self._pauses.get(kind, PAUSE_S) for kind in kinds.values()), default=0.0)
        last = max((node.ready() for node in nodes.values()), default=0.0)
        waits = {name: last - node.ready() + pause + MARGIN_S for name, node in nodes.items()}
        waits = {name: wait for name, wait in waits.items() if wait <= LONGEST_S and not nodes[name].alone}
        for name, node in nodes.items():
            node.busy = SERVED_S + waits[name] if name in waits else 0.0
            node.alone = max(node.alone - 1, 0)
        return waits

    def replied(self, name: int) -> None:
        """Note that a node has answered what it was sent."""
        now, node = self._clock(), self._nodes[name]
        self._last = node.kind, now
        if node.looks is not None:
            node.took.setdefault(node.kind, deque(maxlen=3)).append(now - node.since)
        node.looks, node.asleep = now - HEARD_S + node.busy, not node.busy

    def waited(self, name: int) -> None:
        """Note that a node is no longer busy."""
        node, looks = self._nodes[name], self._clock() - HEARD_S
        if not node.alone and not node.asleep and node.looks is not None and looks > node.looks + LATE_S:
            node.alone, node.rests = node.rests, 2 * node.rests
        node.looks, node.asleep = looks, True


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
            waits = self._steps.sent({about.dst_node_id: about.message_type for about in followed.values()})
            behind = [
                Message(RecordDict({WAIT: ConfigRecord({"seconds": seconds})}), node, WAIT)
                for node, seconds in waits.items()
            ]
            self._waiting |= {
                id_: node for id_, node in zip(self.grid.push_messages(behind), waits, strict=True) if id_
            }
        return taken

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come to these messages."""
        replies = []
        for reply in self.grid.pull_messages([*message_ids, *self._waiting]):
            asked = reply.metadata.reply_to_message_id
            if asked in self._waiting:
                self._steps.waited(self._waiting.pop(asked))
                continue
            if asked in self._asked:
                self._steps.replied(self._asked.pop(asked))
            replies.append(reply)
        return replies
