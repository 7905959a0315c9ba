"""Exchanges with nodes that host several clients: one message a node and phase, and nobody pays for a neighbour."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from semfed.engine.inprocess import InProcessGrid
from semfed.events.records import Record
from semfed.flower.bundle import BUNDLE, cut
from semfed.flower.client.app import make_client_app
from semfed.flower.server import exchange
from semfed.flower.server.federation import Federation
from semfed.flower.server.run import run_arm
from semfed.flower.trial import Trial
from semfed.scenario import Scenario, overrides

pytestmark = pytest.mark.usefixtures("identity")
CRASHED, UNAVAILABLE = 8, 5


class Watched(InProcessGrid):
    """Notes what is sent; may answer bundles with an error, or keep the answers of a node back for some pulls."""

    def __init__(
        self, nodes: int, *, error: int | None = None, delay: tuple[int, int] | None = None, **config: Any
    ) -> None:
        super().__init__(make_client_app(), nodes, config)
        self.sent: list[tuple[int, str, int]] = []
        self.error, self.delay, self.held = error, delay, list[Message]()

    def exchange(
        self, nodes: Sequence[int], make: Callable[[int], Message], *, timeout: float | None = None
    ) -> list[Message]:
        replies = []
        for message in (self._numbered(make(k)) for k in range(len(nodes))):
            about, mark = message.metadata, message.content.get(BUNDLE)
            clients = len(mark["clients"]) if isinstance(mark, ConfigRecord) else 1
            assert clients > 1 or mark is None
            self.sent.append((about.dst_node_id, about.message_type, clients))
            if self.error is not None and clients > 1:
                replies.append(Message(Error(self.error, "ended"), reply_to=message))
                continue
            reply = self.nodes.answer(message)
            late = self.delay is not None and about.dst_node_id == self.delay[0] and about.message_type == "train"
            (self.held if late else replies).append(reply)
        return replies[::-1]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        assert self.delay is not None
        node, pulls = self.delay
        self.delay = (node, pulls - 1) if pulls > 1 else None
        found, self.held = ([], self.held) if pulls > 1 else (self.held, [])
        return [reply for reply in found if reply.metadata.reply_to_message_id in set(message_ids)]


def opened(grid: InProcessGrid, scenario: Scenario, **options: Any) -> Federation:
    arm = scenario.arm_names[0]
    return Federation(grid, Trial(scenario.arm(arm), arm, 0), timeout=5.0, **options)


def ask(federation: Federation, phase: str, clients: Iterable[int] = range(3)) -> list[Message]:
    config = ConfigRecord({"server-round": 1})
    content = {"arrays": federation.initial_arrays, "config": config}
    sent = [federation.create_message(RecordDict(content), phase, k, "1") for k in clients]
    return list(federation.send_and_receive(sent, timeout=1.0))


class Notes:
    def __init__(self) -> None:
        self.rounds: list[list[Record]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None

    def on_round(self, arm: str, seed: int, round_: int, records: list[Record], seconds: float) -> None:
        self.rounds.append(records)


@pytest.mark.parametrize(("scenario", "arm"), [("digits", "clustered"), ("fedcl-digits", "fedcl")])
def test_the_numbers_are_those_of_one_client_a_node(scenario: str, arm: str) -> None:
    given = overrides.load(scenario, ["rounds=2", "training.epochs=1"], seeds=[0])
    told = {}
    for nodes in (len(given.clients), 2, 1):
        notes = Notes()
        outcome = run_arm(Watched(nodes), Trial(given.arm(arm), arm, 0), [notes])  # type: ignore[list-item]
        told[nodes] = ({k: array.tobytes() for k, array in outcome.arrays.items()}, outcome.details, notes.rounds[1:])
    assert told[2] == told[len(given.clients)]
    assert told[1] == told[len(given.clients)]


def test_nodes_with_three_clients_each_get_one_message_a_phase() -> None:
    given = overrides.load("fedcl-digits", ["rounds=1", "training.epochs=1", "clients.count=6"], seeds=[0])
    grid = Watched(2)
    run_arm(grid, Trial(given.arm("fedcl"), "fedcl", 0), [])
    minibatches = 60 // 10
    phases = {"train.forward": 1, "train.backward": minibatches, "evaluate": 1, "query.networks": 1}
    sent = Counter(message for message in grid.sent if message[1] != "query")
    assert sent == {(node, phase, 3): times for phase, times in phases.items() for node in (2, 3)}


def test_a_client_alone_on_its_node_has_its_message_for_itself(digits: Scenario) -> None:
    grid = Watched(2)
    federation = opened(grid, digits)
    grid.sent.clear()
    ask(federation, "train")
    assert grid.sent == [(2, "train", 2), (3, "train", 1)]


def test_a_process_that_ends_costs_its_neighbours_nothing(digits: Scenario) -> None:
    grid = Watched(1, error=CRASHED)
    federation = opened(grid, digits)
    grid.sent.clear()
    assert not any(reply.has_error() for reply in ask(federation, "train"))
    assert grid.sent == [(2, "train", 3), (2, "train", 1), (2, "train", 1), (2, "train", 1)]
    assert not [r for r in federation.take_records(1) if r.note]


def test_a_node_that_is_gone_is_not_asked_again(digits: Scenario) -> None:
    grid = Watched(1, error=UNAVAILABLE)
    federation = opened(grid, digits)
    grid.sent.clear()
    assert [reply.error.code for reply in ask(federation, "train")] == [UNAVAILABLE] * 3
    assert grid.sent == [(2, "train", 3)]


def test_a_late_bundle_keeps_its_clients_waiting_and_then_lets_them_go(digits: Scenario) -> None:
    grid = Watched(2, delay=(2, 2))
    federation = opened(grid, digits)
    grid.sent.clear()
    for phase, words in (("train", "no reply within 1 s"), ("evaluate", "still busy with an earlier message")):
        replies = ask(federation, phase)
        assert [reply.has_error() for reply in replies] == [True, False, True]
        assert {replies[k].error.reason for k in (0, 2)} == {words}
    assert not any(reply.has_error() for reply in ask(federation, "evaluate"))
    assert [kind for node, kind, _ in grid.sent if node == 2] == ["train", "evaluate"]


def test_retry_counts_the_late_answers_of_a_bundle(digits: Scenario) -> None:
    grid = Watched(2, delay=(2, 3))
    federation = opened(grid, digits.model_copy(update={"on_client_failure": "retry"}))
    grid.sent.clear()
    assert not any(reply.has_error() for reply in ask(federation, "train"))
    assert grid.sent == [(2, "train", 2), (3, "train", 1)]
    assert [r.client for r in federation.take_records(1) if r.metric == "retry/train"] == ["Sat 1", "Sat 3"]


def charged(federation: Federation, cost: str) -> dict[str | None, float]:
    return {r.client: r.value for r in federation.take_records(1) if r.metric == f"cost/{cost}"}


def test_what_goes_out_again_is_charged_again(digits: Scenario) -> None:
    federation = opened(Watched(1, error=CRASHED), digits)
    federation.take_records(0)
    ask(federation, "train", [0, 1])
    size = federation.initial_arrays.count_bytes()
    assert charged(federation, "bytes_down") == {"Sat 1": 2 * size, "Sat 2": 2 * size}


def test_what_does_not_go_out_costs_nothing(digits: Scenario) -> None:
    federation = opened(Watched(2, delay=(2, 3)), digits)
    federation.take_records(0)
    ask(federation, "train")
    size = federation.initial_arrays.count_bytes()
    assert charged(federation, "bytes_down") == {"Sat 1": size, "Sat 2": size, "Sat 3": size}
    ask(federation, "train")  # the node of the first and the third is still busy
    assert charged(federation, "bytes_down") == {"Sat 2": size}


def test_a_reply_that_leaves_a_client_out_is_an_error_of_that_client(
    digits: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = opened(Watched(1), digits)
    whole = exchange.unpack
    monkeypatch.setattr(exchange, "unpack", lambda content: {k: v for k, v in whole(content).items() if k != 1})
    replies = ask(federation, "train")
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert replies[1].error.reason == "its node's reply leaves it out"


def test_large_messages_travel_alone(digits: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Watched(1)
    federation = opened(grid, digits)
    grid.sent.clear()
    monkeypatch.setattr(exchange, "cut", lambda messages, most: cut(messages, 1))
    assert not any(reply.has_error() for reply in ask(federation, "train"))
    assert grid.sent == [(2, "train", 1)] * 3


def test_a_nodes_clients_are_kept_for_a_checkpoint_each(digits: Scenario, tmp_path: Path) -> None:
    marks = []
    for nodes in (3, 1):
        grid = Watched(nodes, **{"state-dir": str(tmp_path / str(nodes))})
        federation = opened(grid, digits, run="0" * 32)
        federation.ledger.due = 1
        ask(federation, "train")
        grid.sent.clear()
        assert not federation.ledger.keep(federation.exchange, 1.0)
        assert not federation.ledger.unkept
        assert len(grid.sent) == nodes
        marks.append(federation.ledger.marks)
    assert list(marks[0]) == [0, 1, 2]
    assert marks[0] == marks[1]


def test_every_client_of_a_node_adds_its_own_noise() -> None:
    private = ["privacy.updates={clipping_norm=0.5, epsilon=50.0, delta=1e-5}", 'privacy.noise="seeded"']
    given = overrides.load("digits", [*private, "training.epochs=1"], seeds=[0])
    told = []
    for nodes in (3, 1):
        replies = ask(opened(Watched(nodes), given), "train")
        told.append([b"".join(a.numpy().tobytes() for a in r.content["arrays"].values()) for r in replies])
    assert told[0] == told[1]
    assert len(set(told[0])) == 3
