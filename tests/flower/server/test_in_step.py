"""Nodes that are kept busy, so that they find the next phase's messages without a sleep."""

import copy
import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from semfed.engine.inprocess import InProcessGrid
from semfed.flower.client import app as client_app
from semfed.flower.client.app import make_client_app
from semfed.flower.packing import PACKED
from semfed.flower.protocol import WAIT
from semfed.flower.server import in_step
from semfed.flower.server.in_step import InStepGrid, Steps

SERVED_S, HEARD_S, PAUSE_S = 0.7, 0.3, 0.2
"""What a message takes at least, how late the server hears of its answer, and how long it then needs."""
CLOCKS = (-1000.0, 5.0, 1e9)
"""By how much nodes' clocks differ from the server's."""


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


def test_of_whom_nothing_was_heard_is_not_kept_busy(steps: Steps) -> None:
    assert steps.sent({1: "query", 2: "query"}) == {}


@pytest.mark.parametrize("differs", CLOCKS)
def test_a_node_is_kept_busy_until_the_server_has_sent_the_next_messages(
    steps: Steps, clock: Clock, differs: float
) -> None:
    """The node is asleep when the second message is sent, and busy when the third one is."""
    steps.sent({1: "query"})
    at(clock, 1.0)
    steps.replied(1, 100.7 + differs)
    at(clock, 1.2)
    asleep_until = 101.0 + in_step.LOOKS_S + in_step.SLEEP_S
    replies = asleep_until + in_step.SERVED_S
    until = replies + in_step.PAUSE_S + in_step.MARGIN_S - in_step.LOOKS_S
    assert steps.sent({1: "train"}) == pytest.approx({1: until - 0.3 + differs + in_step.UNSURE_S}, abs=1e-6)
    at(clock, 6.0)
    steps.replied(1, 105.5 + differs)  # it took 105.8 - asleep_until, for the soonest is still 0.3
    at(clock, 6.1)
    looks = until + in_step.LOOKS_S
    until = looks + in_step.SERVED_S + in_step.PAUSE_S + in_step.MARGIN_S - in_step.LOOKS_S
    assert steps.sent({1: "evaluate"}) == pytest.approx({1: until - 0.3 + differs + in_step.UNSURE_S / 2}, abs=1e-6)
    at(clock, 7.0)
    steps.waited(1, 106.4 + differs)  # it looks at 106.7 + LOOKS_S
    at(clock, 8.0)
    steps.replied(1, 107.5 + differs)
    at(clock, 8.1)
    took = 105.8 - asleep_until
    until = until + in_step.LOOKS_S + took + (106.1 - 105.8) + in_step.MARGIN_S - in_step.LOOKS_S
    assert steps.sent({1: "train"}) == pytest.approx({1: until - 0.3 + differs + in_step.UNSURE_S / 4}, abs=1e-6)


def test_an_error_says_nothing_of_a_nodes_clock(steps: Steps, clock: Clock) -> None:
    steps.sent({1: "query"})
    at(clock, 1.0)
    steps.replied(1, None)
    assert steps.sent({1: "train"}) == {}
    steps.waited(1, None)


def test_what_a_message_takes_counts_by_its_kind(steps: Steps, clock: Clock) -> None:
    """What is expected is the lower median of the last five messages of that kind."""
    steps.sent({1: "query"})
    steps.replied(1, clock.now)
    for seconds in (90.0, 3.0, 1.0, 9.0, 2.0, 1.5, 8.0):
        for kind, took in (("train", seconds), ("evaluate", 0.5)):
            clock.now += 0.2
            steps.sent({1: kind})
            steps.waited(1, clock.now)
            clock.now += in_step.LOOKS_S + took
            steps.replied(1, clock.now)
    clock.now += 0.2
    until = {kind: copy.deepcopy(steps).sent({1: kind})[1] for kind in ("train", "evaluate")}
    assert until["train"] - until["evaluate"] == pytest.approx(2.0 - 0.5)


def test_a_node_that_has_a_minute_sleeps(steps: Steps, clock: Clock) -> None:
    """And the one that others wait for is kept busy as ever."""
    kept: dict[int, float] = {}
    for _ in range(3):
        start = clock.now
        kept = steps.sent({1: "train", 2: "train"})
        for node, seconds in ((1, 2.0), (2, 62.0)):
            clock.now = start + seconds
            steps.replied(node, clock.now)
        clock.now += 0.2
    assert list(kept) == [2]


@pytest.mark.parametrize(("pause", "noted"), [(1.5, 1.5), (60.0, in_step.PAUSE_S)])
def test_a_long_pause_of_the_server_is_not_expected_again(
    steps: Steps, clock: Clock, pause: float, noted: float
) -> None:
    for _ in range(2):
        steps.sent({1: "train"})
        steps.waited(1, clock.now)
        steps.replied(1, clock.now)
        clock.now += pause
    until = steps.sent({1: "train"})[1]
    ready = until - noted - in_step.MARGIN_S + in_step.LOOKS_S - in_step.UNSURE_S / 4
    assert ready >= clock.now
    assert ready - clock.now <= in_step.SLEEP_S + in_step.LOOKS_S + in_step.SERVED_S


def test_a_node_whose_processes_start_cold_is_left_alone(steps: Steps, clock: Clock) -> None:
    """For ten messages, then for twenty, each time one message too late; the other one is kept busy."""
    kept, until, free = [], dict[int, float](), clock.now
    for round_ in range(42):
        new = steps.sent({1: "train", 2: "train"})
        for node, late in ((2, 0.0), (1, in_step.LATE_S + 0.1)):
            if node in until:
                clock.now = max(until[node], free + in_step.SERVED_S) + late
                steps.waited(node, clock.now)
        kept.append(1 in new)
        assert (2 in new) == (round_ > 0)
        clock.now += 1.0
        until, free = new, clock.now
        steps.replied(1, clock.now)
        steps.replied(2, clock.now)
        clock.now += 0.2
    assert [k for k, was in enumerate(kept) if was] == [1, 2, 13, 14, 35, 36]


def phases(steps: Steps | None, clock: Clock, looks: list[float], work: Iterator[float]) -> Iterator[float]:
    """Give how long phases last with nodes that first look at these times, as Flower's SuperNodes do."""
    while True:
        begin = clock.now
        until = steps.sent(dict.fromkeys(range(len(looks)), "train")) if steps else {}
        events: list[tuple[float, int, Callable[[int, float], None]]] = []
        heard = []
        for node, look in enumerate(looks):
            found = look + max(math.ceil((begin - look) / 3), 0) * 3
            replied = found + next(work)
            heard.append(replied + HEARD_S)
            looks[node] = max(replied + SERVED_S, until[node]) if node in until else replied
            if steps:
                events += [(heard[-1], node, steps.replied), (looks[node] + HEARD_S, node, steps.waited)]
        end = max(heard) + PAUSE_S
        for when, node, tell in sorted(events, key=lambda event: event[0]):
            if when <= end:
                clock.now = when
                tell(node, when - HEARD_S)
        clock.now = end
        yield end - begin


LOOKS = st.lists(st.floats(100.0, 103.0), min_size=1, max_size=in_step.MOST_NODES)


@settings(max_examples=200, deadline=None)
@given(LOOKS)
def test_whenever_nodes_first_look_they_come_into_step(looks: list[float]) -> None:
    clock = Clock()
    lasted = list(itertools.islice(phases(Steps(clock), clock, looks, itertools.repeat(0.8)), 60))
    busy = PAUSE_S + in_step.MARGIN_S - in_step.LOOKS_S + in_step.UNSURE_S / in_step.HEARD
    assert lasted[30:] == pytest.approx([busy + 0.8] * 30, abs=0.05)


def test_being_kept_busy_costs_three_fifths_of_sleeping() -> None:
    """Work takes half a second longer now and then; means over 300 draws of nodes and ticks, of which all gain."""
    draw, ratios = random.Random(0), []
    for _ in range(300):
        looks = [draw.uniform(100.0, 103.0) for _ in range(draw.randint(1, in_step.MOST_NODES))]
        ticks = draw.choices([0.8, 1.3], [2, 1], k=30)
        lasted = []
        for steps in (Steps(clock := Clock()), None):
            told = phases(steps, clock, list(looks), itertools.cycle(ticks))
            lasted.append(statistics.mean(itertools.islice(told, 6, 56)))
            clock.now = 100.0
        ratios.append(lasted[0] / lasted[1])
    assert statistics.mean(ratios) < 0.6
    assert max(ratios) < 1.0


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
def test_what_keeps_nodes_busy_goes_behind_and_nobody_hears_of_it(steps: Steps) -> None:
    """Until when follows from when the nodes' first replies were made, for the server's clock stands still."""
    link = Link(3)
    grid: Any = InStepGrid(link, steps)
    nodes = list(link.get_node_ids())
    first = list(grid.pull_messages(grid.push_messages(packed(nodes))))
    made = {reply.metadata.src_node_id: reply.metadata.created_at for reply in first}
    ids = grid.push_messages(packed(nodes))
    kinds = [(message.metadata.dst_node_id, message.metadata.message_type) for message in link.pushed[3:]]
    assert kinds == [(node, kind) for kind in ("train", WAIT) for node in nodes]
    orders = [message.content.config_records[WAIT] for message in link.pushed[6:]]
    assert {order["seconds"] for order in orders} == {in_step.LONGEST_S}
    later = in_step.SERVED_S + in_step.MARGIN_S + in_step.UNSURE_S
    until = [made[node] + later for node in nodes]
    assert [float(str(order["until"])) for order in orders] == pytest.approx(until, abs=1e-5)
    replies = grid.pull_messages(ids)
    assert {reply.metadata.reply_to_message_id for reply in replies} == set(ids)


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize(("nodes", "own"), [(in_step.MOST_NODES + 1, True), (1, False), (0, True)])
def test_who_is_not_kept_busy(nodes: int, own: bool) -> None:
    """Many nodes, and those of other apps."""
    link = Link(in_step.MOST_NODES + 1)
    to = list(link.get_node_ids())[:nodes]
    grid = InStepGrid(link)
    for _ in range(2):
        sent = packed(to) if own else [Message(RecordDict(), node, "train") for node in to]
        list(grid.pull_messages(ids := grid.push_messages(sent)))
        assert [message.metadata.message_id for message in link.pushed] == list(ids)
        assert len(link.pushed) == nodes
        link.pushed.clear()


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize(("until", "most", "waited"), [(0.2, 5.0, 0.2), (60.0, 0.2, 0.2), (-60.0, 5.0, 0.0)])
def test_a_client_keeps_its_node_busy_even_if_it_has_lost_the_run(
    monkeypatch: pytest.MonkeyPatch, until: float, most: float, waited: float
) -> None:
    """Until then, for no longer than the message says, and not at all if that has passed."""
    slept: list[float] = []
    monkeypatch.setattr(client_app, "time", SimpleNamespace(time=lambda: 1000.0, sleep=slept.append))
    grid = InProcessGrid(make_client_app(), 1)
    (node,) = grid.get_node_ids()
    message = Message(RecordDict({WAIT: ConfigRecord({"until": 1000.0 + until, "seconds": most})}), node, WAIT)
    (reply,) = grid.send_and_receive([message])
    assert slept == pytest.approx([waited])
    assert reply.has_content()
    assert not reply.content
