"""Messages that a SuperLink hands out once, and that are lost all the same."""

import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from hypothesis import given, settings
from hypothesis import strategies as st

from semfed.engine.inprocess import InProcessGrid
from semfed.events.callbacks import Callback
from semfed.events.records import Record
from semfed.flower.client.app import make_client_app
from semfed.flower.compat import task_identity
from semfed.flower.protocol import LOST, PROBE, STATE, WAIT
from semfed.flower.server.federation import Federation
from semfed.flower.server.in_step import InStepGrid, Steps
from semfed.flower.server.reliable_grid import ReliableGrid
from semfed.flower.server.replies import sentence
from semfed.flower.server.run import run_arm
from semfed.flower.trial import Trial
from semfed.scenario import Scenario, overrides

RUN = "0123456789abcdef" * 2
Told = tuple[dict[str, bytes], list[tuple[int, str]]]
"""Final arrays, and which nodes served what, probes left out."""


@pytest.fixture(scope="module", autouse=True)
def _identity() -> Iterator[None]:
    with task_identity():
        yield


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return overrides.load("digits", ["rounds=1", "training.epochs=1", "timeout_s=20"], seeds=[0])


@pytest.fixture(scope="module")
def undisturbed(scenario: Scenario, _identity: None) -> Told:
    return run(scenario, SuperLink(3))


class SuperLink(InProcessGrid):
    """Hands every message out once, oldest first; a node takes one when it has replied to the last.

    Handouts are counted over all nodes; of those in `lost`, nothing arrives, of those in `unheard`, no reply does.
    `away` tells for nodes at which questions about them they are away. Who then asks for their replies gets errors.
    Before the handouts in `forgets` a node is started anew; its clients' states are kept in `disk`.
    """

    def __init__(
        self,
        nodes: int,
        lost: Iterable[int] = (),
        unheard: Iterable[int] = (),
        *,
        slow: int = 1,
        forgets: Iterable[int] = (),
        disk: Path | None = None,
    ) -> None:
        super().__init__(make_client_app(), nodes)
        self.forgets = set(forgets)
        for context in self.nodes.contexts.values() if disk is not None else ():
            context.node_config["state-dir"] = str(disk)
        self.lost, self.unheard, self.slow = set(lost), set(unheard), slow
        self.refuse: set[int] = set()
        self.rests_after: int | None = None
        self.away: dict[int, range] = {}
        self.questions = 0
        self.pushed: dict[str, Message] = {}
        self.queue: list[Message] = []
        self.replies: dict[str, Message] = {}
        self.busy: Counter[int] = Counter()
        self.handed_out = 0
        self.served: list[tuple[int, str]] = []

    def push_messages(self, messages: Iterable[Message]) -> list[str | None]:  # type: ignore[override]
        numbered = [self._numbered(message) for message in messages]
        self.pushed |= {message.metadata.message_id: message for message in numbered}
        self.queue += [message for message in numbered if message.metadata.dst_node_id not in self.refuse]
        return [m.metadata.message_id if m in self.queue else None for m in numbered]

    def get_nodes(self) -> list[SimpleNamespace]:
        """Tell who is online, and of a node that goes away right after this question, that it soon will be."""
        self.questions += 1
        leaves = {node for node, when in self.away.items() if self.questions == when.start}
        online = leaves | {node for node in self.get_node_ids() if not self._is_away(node)}
        return [
            SimpleNamespace(node_id=node, online_until=time.time() if node in leaves else math.inf) for node in online
        ]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        asked_for = [asked for asked in message_ids if asked in self.pushed]
        for node in self.get_node_ids():
            if not self._is_away(node):
                self._work(node)
        for message in [self.pushed[asked] for asked in asked_for]:
            if self._is_away(message.metadata.dst_node_id):
                self.queue = [other for other in self.queue if other is not message]
                error = Error(ErrorCode.NODE_UNAVAILABLE, "not heard of for a while")
                self.replies[message.metadata.message_id] = Message(error, reply_to=message)
        return [self.replies.pop(asked) for asked in asked_for if asked in self.replies]

    def _is_away(self, node: int) -> bool:
        return self.questions in self.away.get(node, ())

    def _work(self, node: int) -> None:
        own = [message for message in self.queue if message.metadata.dst_node_id == node]
        self.busy[node] += 1
        if not own or self.busy[node] % self.slow or self.handed_out == self.rests_after:
            return
        message, number = own[0], self.handed_out
        self.queue.remove(message)
        self.handed_out += 1
        if number in self.lost:
            return
        about = message.metadata
        if number in self.forgets:
            self.nodes.contexts[node].state.clear()
        self.served.append((node, about.message_type))
        reply = self.nodes.answer(message)
        if number not in self.unheard:
            self.replies[about.message_id] = reply


class Hurried(Steps):
    """Keeps nodes busy for no time."""

    def sent(self, kinds: Mapping[int, str]) -> dict[int, float]:
        return dict.fromkeys(super().sent(kinds), 0.0)


def delivery(link: SuperLink, absence: float = 5.0, *, in_step: bool = False) -> ReliableGrid:
    inner = InStepGrid(cast(Any, link), Hurried()) if in_step else link
    return ReliableGrid(cast(Any, inner), silence=0.01, absence=absence, poll=0.001)


def opened(scenario: Scenario, link: SuperLink, absence: float = 5.0) -> Federation:
    arm = scenario.arm_names[0]
    return Federation(delivery(link, absence), Trial(scenario.arm(arm), arm, 0), timeout=5.0)


def opening(scenario: Scenario) -> Message:
    trial = Trial(scenario.arm("clustered"), "clustered", 0)
    return Message(RecordDict({STATE: ConfigRecord({"trial": trial.to_json()})}), 2, "query")


def train(federation: Federation) -> list[Message]:
    content = {"arrays": federation.initial_arrays, "config": ConfigRecord({"server-round": 1})}
    sent = [federation.create_message(RecordDict(content), "train", client, "1") for client in range(3)]
    return list(federation.send_and_receive(sent, timeout=5.0))


def run(scenario: Scenario, link: SuperLink, *, in_step: bool = False) -> Told:
    arm = scenario.arm_names[0]
    outcome = run_arm(delivery(link, in_step=in_step), Trial(scenario.arm(arm), arm, 0), [])
    served = [(node, kind) for node, kind in link.served if kind not in (PROBE, WAIT)]
    return {name: array.tobytes() for name, array in outcome.arrays.items()}, sorted(served)


@settings(max_examples=20, deadline=None)
@given(lost=st.sets(st.integers(0, 24), max_size=8), slow=st.integers(1, 4), in_step=st.booleans())
def test_whatever_is_lost_on_the_way_down_every_message_is_served_once(
    scenario: Scenario, undisturbed: Told, lost: set[int], slow: int, in_step: bool
) -> None:
    assert run(scenario, SuperLink(3, lost, slow=slow), in_step=in_step) == undisturbed


@settings(max_examples=20, deadline=None)
@given(
    start=st.integers(2, 12),
    questions=st.integers(1, 30),
    node=st.integers(2, 4),
    lost=st.sets(st.integers(0, 12)),
    in_step=st.booleans(),
)
def test_a_node_that_is_away_for_a_while_costs_nothing(
    scenario: Scenario, undisturbed: Told, start: int, questions: int, node: int, lost: set[int], in_step: bool
) -> None:
    link = SuperLink(3, lost, slow=4)
    link.away = {node: range(start, start + questions)}
    assert run(scenario, link, in_step=in_step) == undisturbed
    assert link.questions >= start


class Rounds(Callback):
    """Keeps all records but times."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
        self.records += records


def two_rounds(link: SuperLink, *, in_step: bool = False) -> tuple[dict[str, bytes], list[Record]]:
    scenario = overrides.load("digits", ["rounds=2", "training.epochs=1", "timeout_s=20"], seeds=[0])
    heard = Rounds()
    grid = delivery(link, in_step=in_step)
    outcome = run_arm(grid, Trial(scenario.arm("clustered"), "clustered", 0), [heard], run=RUN)
    return {name: array.tobytes() for name, array in outcome.arrays.items()}, heard.records


@pytest.fixture(scope="module")
def two_undisturbed(_identity: None, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    return {nodes: two_rounds(SuperLink(nodes, disk=tmp_path_factory.mktemp("states"))) for nodes in (1, 2, 3)}


@settings(max_examples=12, deadline=None)
@given(
    forgets=st.sets(st.integers(1, 24), max_size=5),
    lost=st.sets(st.integers(0, 24), max_size=4),
    nodes=st.integers(1, 3),
    in_step=st.booleans(),
)
def test_a_node_that_is_started_anew_goes_on_from_what_is_on_its_disk(
    two_undisturbed: dict[int, Any], forgets: set[int], lost: set[int], nodes: int, in_step: bool
) -> None:
    with tempfile.TemporaryDirectory() as disk:
        link = SuperLink(nodes, lost, forgets=forgets, disk=Path(disk))
        assert two_rounds(link, in_step=in_step) == two_undisturbed[nodes]


def test_a_node_that_keeps_nothing_on_a_disk_loses_its_clients(scenario: Scenario) -> None:
    link = SuperLink(3)
    federation = opened(scenario, link)
    link.forgets = {link.handed_out + 1}
    replies = train(federation)
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert sentence(replies[1].error) == LOST


@pytest.mark.parametrize("kept", ["nothing", "damaged"])
def test_a_state_that_cannot_be_put_back_is_not_replaced_by_another(tmp_path: Path, kept: str) -> None:
    """The second round begins; Sat 2's node is started anew, and its file is gone, or another one."""
    link = SuperLink(3, disk=tmp_path)

    class Spoil(Callback):
        def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
            heard.on_round(arm, seed, round_, records, seconds)
            if round_ == 1:
                link.forgets = {link.handed_out + 1}
                for path in tmp_path.glob("*/*/client-1/round-*.safetensors"):
                    path.unlink() if kept == "nothing" else path.write_bytes(path.read_bytes()[:-1] + b"x")

    heard, scenario = Rounds(), overrides.load("digits", ["rounds=2", "training.epochs=1", "timeout_s=20"], seeds=[0])
    run_arm(delivery(link), Trial(scenario.arm("clustered"), "clustered", 0), [Spoil()], run=RUN)
    told = {(r.round, r.client): r.note for r in heard.records if r.metric.startswith("failure/")}
    assert {client for _, client in told} == {"Sat 2"}
    assert "round-1.safetensors" in str(told[2, "Sat 2"])


def test_a_node_whose_clients_have_moved_on_from_what_is_kept_is_told_nothing(tmp_path: Path) -> None:
    scenario = overrides.load("digits", ["rounds=1", "training.epochs=1", "checkpoint_every=0"], seeds=[0])
    link = SuperLink(3, disk=tmp_path)
    grid = delivery(link)
    federation = Federation(grid, Trial(scenario.arm("clustered"), "clustered", 0), timeout=5.0, run=RUN)
    assert grid.remind(3) is not None
    train(federation)
    assert grid.remind(3) is None
    assert not list(tmp_path.iterdir())


def test_a_node_that_stays_away_fails_after_a_while_and_then_at_once(scenario: Scenario) -> None:
    link = SuperLink(3)
    federation = opened(scenario, link, absence=0.3)
    link.away = {3: range(link.questions + 1, 1_000_000)}
    began = time.monotonic()
    replies = train(federation)
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert replies[1].error.code == ErrorCode.NODE_UNAVAILABLE
    assert time.monotonic() - began >= 0.3

    began = time.monotonic()
    assert [reply.has_error() for reply in train(federation)] == [False, True, False]
    assert time.monotonic() - began < 0.3


def test_a_busy_node_that_is_probed_gets_its_message_once(scenario: Scenario, undisturbed: Told) -> None:
    link = SuperLink(3, slow=40)  # each visit takes 40 looks of a millisecond, and probes go out after 10
    assert run(scenario, link) == undisturbed
    assert (2, PROBE) in link.served


def test_a_lost_reply_is_an_error_and_its_client_is_not_asked_twice(scenario: Scenario) -> None:
    link = SuperLink(3)
    federation = opened(scenario, link)
    link.unheard = {link.handed_out + 1}
    link.served.clear()
    replies = train(federation)
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert "its reply was lost on the way" in str(replies[1].error.reason)
    assert Counter(kind for _, kind in link.served)["train"] == 3


def test_a_message_that_is_not_taken_is_an_error_at_once(scenario: Scenario) -> None:
    link = SuperLink(3)
    federation = opened(scenario, link)
    link.refuse = {3}
    replies = train(federation)
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert "did not take it" in str(replies[1].error.reason)


def test_a_reply_to_a_message_sent_again_may_miss_the_deadline_and_be_collected_later(scenario: Scenario) -> None:
    link = SuperLink(1, lost={0})
    link.rests_after = 2  # what is lost, and the probe
    grid = delivery(link)
    message = opening(scenario)
    assert not list(grid.send_and_receive([message], timeout=0.5))
    link.rests_after = None
    asked = message.metadata.message_id
    replies = [reply for _ in range(20) for reply in grid.pull_messages([asked])]
    assert [reply.metadata.reply_to_message_id for reply in replies] == [asked]


def test_a_node_that_misses_its_deadline_and_is_away_keeps_its_answer(scenario: Scenario) -> None:
    link = SuperLink(1, slow=4)
    link.away = {2: range(2, 40)}
    grid = delivery(link)
    message = opening(scenario)
    assert not list(grid.send_and_receive([message], timeout=0.01))
    asked = message.metadata.message_id
    replies = [reply for _ in range(60) for reply in grid.pull_messages([asked])]
    assert [(reply.metadata.reply_to_message_id, reply.has_error()) for reply in replies] == [(asked, False)]
