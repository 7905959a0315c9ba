"""Nodes that are kept busy, so that they find the next phase's messages without a sleep."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from semfed.engine.inprocess import InProcessGrid
from semfed.flower.client.app import make_client_app
from semfed.flower.packing import PACKED
from semfed.flower.protocol import WAIT
from semfed.flower.server import in_step
from semfed.flower.server.in_step import InStepGrid, Steps

FIRST = in_step.PAUSE_S + in_step.MARGIN_S
SERVED_S, HEARD_S, PAUSE_S = 0.7, 0.3, 0.2
"""What keeps a node busy beyond its time, how late the server hears of a reply, and how long it then needs."""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def steps(clock: Clock) -> Steps:
    return Steps(clock)


def at(clock: Clock, seconds: float) -> None:
    clock.now = 100.0 + seconds


def test_a_node_is_kept_busy_for_the_servers_pause_and_a_margin(steps: Steps, clock: Clock) -> None:
    assert steps.sent({1: "train", 2: "train"}) == pytest.approx({1: FIRST, 2: FIRST})
    at(clock, 1.0)
    steps.replied(1)
    steps.replied(2)
    at(clock, 1.7)
    assert steps.sent({1: "evaluate", 2: "evaluate"}) == pytest.approx({1: FIRST, 2: FIRST}), "after evaluating"
    at(clock, 4.0)
    steps.replied(1)
    steps.replied(2)
    at(clock, 4.1)
    assert steps.sent({1: "train", 2: "train"}) == pytest.approx(dict.fromkeys((1, 2), 0.7 + in_step.MARGIN_S))


def test_the_others_wait_for_a_node_that_sleeps(steps: Steps, clock: Clock) -> None:
    steps.sent({1: "train", 2: "train"})
    at(clock, 1.0)
    steps.replied(1)
    steps.replied(2)
    at(clock, 2.2)
    steps.waited(1)  # it found nothing, before this was heard, and looks again after its sleep
    at(clock, 2.25)
    waits = steps.sent({1: "evaluate", 2: "evaluate"})
    sleeps_until = 2.2 - in_step.HEARD_S + in_step.SLEEP_S
    is_busy_until = 1.0 - in_step.HEARD_S + in_step.SERVED_S + FIRST
    assert waits == pytest.approx({1: FIRST, 2: FIRST + sleeps_until - is_busy_until})


def test_what_a_message_takes_counts_by_its_kind(steps: Steps, clock: Clock) -> None:
    """2 needs a second longer for training: 1, which is ready first, is kept busy a second longer."""
    longer = []
    for kind in ("train", "train", "train", "evaluate"):
        begin = clock.now
        waits = steps.sent({1: kind, 2: kind})
        longer.append(waits[1] - waits[2])
        for when, tell, node in (
            (2.0, steps.replied, 1), (3.0, steps.replied, 2), (3.2, steps.waited, 1), (3.2, steps.waited, 2)
        ):  # fmt: skip
            clock.now = begin + when
            tell(node)
        clock.now = begin + 3.2 - in_step.HEARD_S + in_step.SLEEP_S - 1e-6  # both look again
    assert longer == pytest.approx([0.0, 0.0, 1.0, 0.0]), "when it began with its first message, one cannot tell"


def test_a_node_that_has_a_minute_sleeps(steps: Steps, clock: Clock) -> None:
    """And the one that others wait for is kept busy as ever."""
    waits: dict[int, float] = {}
    for _ in range(3):
        start = clock.now
        waits = steps.sent({1: "train", 2: "train"})
        for node, seconds in ((1, 2.0), (2, 62.0)):
            clock.now = start + seconds
            steps.replied(node)
        clock.now += in_step.PAUSE_S
    assert waits == pytest.approx({2: FIRST})


def test_a_node_whose_processes_start_cold_is_left_alone(steps: Steps, clock: Clock) -> None:
    """For ten messages, then for twenty, each time one message too late; the other one is kept busy."""
    kept, waits, replied = [], dict[int, float](), clock.now
    for _ in range(40):
        new = steps.sent({1: "train", 2: "train"})
        for node, late in ((2, 0.0), (1, in_step.LATE_S + 0.1)):
            if node in waits:
                clock.now = replied + in_step.SERVED_S + waits[node] + late
                steps.waited(node)
        kept.append(1 in new)
        assert 2 in new
        waits, replied = new, clock.now + 1.0
        clock.now = replied
        steps.replied(1)
        steps.replied(2)
        clock.now += 0.2
    assert [k for k, was in enumerate(kept) if was] == [0, 1, 12, 13, 34, 35]


def phases(steps: Steps | None, clock: Clock, looks: list[float], work: Iterator[float]) -> Iterator[float]:
    """Give how long phases last with nodes that first look at these times, as Flower's SuperNodes do."""
    while True:
        begin = clock.now
        waits = steps.sent(dict.fromkeys(range(len(looks)), "train")) if steps else {}
        events: list[tuple[float, int, Callable[[int], None]]] = []
        heard = []
        for node, look in enumerate(looks):
            found = look + max(math.ceil((begin - look) / 3), 0) * 3
            replied = found + next(work)
            heard.append(replied + HEARD_S)
            looks[node] = replied + (SERVED_S + waits[node] if node in waits else 0.0)
            if steps:
                events += [(heard[-1], node, steps.replied), (looks[node] + HEARD_S, node, steps.waited)]
        end = max(heard) + PAUSE_S
        for when, node, tell in sorted(events, key=lambda event: event[0]):
            if when <= end:
                clock.now = when
                tell(node)
        clock.now = end
        yield end - begin


LOOKS = st.lists(st.floats(100.0, 103.0), min_size=1, max_size=in_step.MOST_NODES)


@settings(max_examples=200, deadline=None)
@given(LOOKS)
def test_whenever_nodes_first_look_they_come_into_step(looks: list[float]) -> None:
    clock = Clock()
    lasted = list(itertools.islice(phases(Steps(clock), clock, looks, itertools.repeat(0.8)), 12))
    assert lasted[6:] == pytest.approx([SERVED_S + FIRST + 0.8] * 6), "what keeps a node busy, then its work"


@settings(max_examples=200, deadline=None)
@given(LOOKS, st.lists(st.sampled_from([0.8, 0.8, 1.3]), min_size=30, max_size=30))
def test_being_kept_busy_costs_less_than_sleeping(looks: list[float], ticks: list[float]) -> None:
    """Work takes half a second longer now and then."""
    lasted = {}
    for way in ("asleep", "in step"):
        clock = Clock()
        told = phases(Steps(clock) if way == "in step" else None, clock, list(looks), itertools.cycle(ticks))
        lasted[way] = list(itertools.islice(told, 16))[6:]
    assert min(lasted["asleep"]) >= 3.0
    assert statistics.mean(lasted["in step"]) <= 0.85 * statistics.mean(lasted["asleep"])


class Link(InProcessGrid):
    """Keeps what was pushed; every message is answered."""

    def __init__(self, nodes: int) -> None:
        super().__init__(make_client_app(), nodes)
        self.pushed: list[Message] = []

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        self.pushed += (taken := [self._numbered(message) for message in messages])
        return [message.metadata.message_id for message in taken]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        asked = set(message_ids)
        return [
            Message(RecordDict(), reply_to=message) for message in self.pushed if message.metadata.message_id in asked
        ]


def packed(nodes: Iterable[int]) -> list[Message]:
    return [Message(RecordDict({PACKED: ConfigRecord()}), node, "train") for node in nodes]


@pytest.mark.usefixtures("identity")
def test_what_keeps_nodes_busy_goes_behind_and_nobody_hears_of_it() -> None:
    link = Link(3)
    grid: Any = InStepGrid(link)
    nodes = list(link.get_node_ids())
    ids = grid.push_messages(packed(nodes))
    kinds = [(message.metadata.dst_node_id, message.metadata.message_type) for message in link.pushed]
    assert kinds == [(node, kind) for kind in ("train", WAIT) for node in nodes]
    assert [m.content.config_records[WAIT]["seconds"] for m in link.pushed[3:]] == pytest.approx([FIRST] * 3)
    replies = grid.pull_messages(ids)
    assert [reply.metadata.reply_to_message_id for reply in replies] == ids


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize(("nodes", "own"), [(in_step.MOST_NODES + 1, True), (1, False), (0, True)])
def test_who_is_not_kept_busy(nodes: int, own: bool) -> None:
    """Many nodes, and those of other apps."""
    link = Link(in_step.MOST_NODES + 1)
    to = list(link.get_node_ids())[:nodes]
    ids = InStepGrid(link).push_messages(packed(to) if own else [Message(RecordDict(), node, "train") for node in to])
    assert [message.metadata.message_id for message in link.pushed] == list(ids)
    assert len(link.pushed) == nodes


@pytest.mark.usefixtures("identity")
def test_a_client_keeps_its_node_busy_even_if_it_has_lost_the_run() -> None:
    grid = InProcessGrid(make_client_app(), 1)
    (node,) = grid.get_node_ids()
    started = time.perf_counter()
    message = Message(RecordDict({WAIT: ConfigRecord({"seconds": 0.2})}), node, WAIT)
    (reply,) = grid.send_and_receive([message])
    assert time.perf_counter() - started >= 0.2
    assert reply.has_content()
    assert not reply.content
