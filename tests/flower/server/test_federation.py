from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

from semfed.engine.inprocess import InProcessGrid
from semfed.errors import FederationError, SemfedError
from semfed.events.records import Record
from semfed.flower.client.app import make_client_app
from semfed.flower.server.federation import Federation
from semfed.flower.trial import Trial
from semfed.scenario import Scenario

pytestmark = pytest.mark.usefixtures("identity")
Open = Callable[..., Federation]


def messages(federation: Federation, kind: str = "train", round_: int = 1) -> list[Message]:
    config = ConfigRecord({"server-round": round_})
    return [
        Message(RecordDict({"arrays": federation.initial_arrays, "config": config}), client, kind)
        for client in federation.get_node_ids()
    ]


def values(federation: Federation) -> list[tuple[int, list[float]]]:
    replies = list(federation.send_and_receive(reversed(messages(federation))))
    return [(r.metadata.src_node_id, [a.numpy().sum() for a in r.content["arrays"].values()]) for r in replies]


def test_replies_come_in_the_order_of_clients_from_any_number_of_nodes(open_federation: Open, digits: Scenario) -> None:
    together = values(open_federation(digits, nodes=3))
    assert [client for client, _ in together] == [0, 1, 2]
    for nodes in (1, 2, 5):
        assert values(open_federation(digits, nodes=nodes)) == together


class Scripted(InProcessGrid):
    """A grid whose replies can be dropped or shuffled."""

    def __init__(self, *args: Any, drop: Iterable[int] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drop = set(drop)
        self.sent: list[int] = []

    def exchange(
        self, nodes: Sequence[int], make: Callable[[int], Message], *, timeout: float | None = None
    ) -> list[Message]:
        batch = [make(k) for k in range(len(nodes))]
        self.sent += [m.metadata.dst_node_id for m in batch if m.metadata.message_type != "query"]
        replies = list(super().exchange(nodes, batch.__getitem__, timeout=timeout))
        training = batch[0].metadata.message_type != "query"
        kept = [
            r for m, r in zip(batch, replies, strict=True) if not (training and m.metadata.dst_node_id in self.drop)
        ]
        return kept[::-1]


def scripted(scenario: Scenario, nodes: int, drop: Iterable[int]) -> tuple[Federation, Scripted]:
    grid = Scripted(make_client_app(), nodes, drop=drop)
    return Federation(grid, Trial(scenario.arm("clustered"), "clustered", 0), timeout=5.0), grid


def test_what_clients_tell_comes_in_their_order(digits: Scenario) -> None:
    federation, _ = scripted(digits, 3, drop=[])  # replies come the other way round
    assert list(federation.properties) == [0, 1, 2]


def test_messages_travel_in_whole_exchanges_only(open_federation: Open, digits: Scenario) -> None:
    federation = open_federation(digits)
    for way in (federation.push_messages, federation.pull_messages):
        with pytest.raises(NotImplementedError, match="use send_and_receive on a Federation"):
            way([])


def test_a_silent_client_has_an_error_reply_and_is_recorded(digits: Scenario) -> None:
    federation, _ = scripted(digits, 3, drop=[3])
    replies = list(federation.send_and_receive(messages(federation), timeout=1.0))
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert replies[1].metadata.src_node_id == 1
    failures = [r for r in federation.take_records(1) if r.metric == "failure/train"]
    assert [(r.client, r.note) for r in failures] == [("Sat 2", "no reply within 1 s")]


def test_a_silent_node_gets_no_second_message(digits: Scenario) -> None:
    """Two messages at once would overwrite each other's state."""
    federation, grid = scripted(digits, 2, drop=[2])
    replies = list(federation.send_and_receive(messages(federation), timeout=1.0))
    assert [reply.has_error() for reply in replies] == [True, False, True]
    assert grid.sent == [2, 3]


def test_bytes_and_channel_uses_are_accounted(open_federation: Open, digits: Scenario) -> None:
    federation = open_federation(digits)
    federation.take_records(0)
    sent = messages(federation)
    list(federation.send_and_receive(sent))
    records = {(r.client, r.metric): r.value for r in federation.take_records(1)}
    size = federation.initial_arrays.count_bytes()
    for k, client in enumerate(("Sat 1", "Sat 2", "Sat 3")):
        assert records[client, "cost/bytes_down"] == size
        assert records[client, "cost/bytes_up"] == size
        round_number = sent[0].content["config"].count_bytes()
        assert records[client, "cost/simulation_bytes_down"] == round_number
        assert records[client, "cost/channel_uses"] == 8 * sum(digits.data.partition.settings.counts[k])
    list(federation.send_and_receive(messages(federation, "evaluate")))
    evaluated = {r.metric: r.value for r in federation.take_records(1)}
    assert evaluated["cost/evaluation_channel_uses"] == 8 * 539
    assert "cost/bytes_up" not in evaluated


def test_metrics_are_named_by_task_and_averaged(open_federation: Open, digits: Scenario) -> None:
    federation = open_federation(digits)
    federation.take_records(0)
    list(federation.send_and_receive(messages(federation, "evaluate")))
    records = {r.metric: r for r in federation.take_records(1) if r.metric.startswith("accuracy")}
    assert set(records) == {"accuracy/t1", "accuracy/t2", "accuracy/t3", "accuracy/average"}
    mean = np.mean([records[f"accuracy/t{k}"].value for k in (1, 2, 3)])
    assert records["accuracy/average"].value == pytest.approx(mean)
    assert records["accuracy/average"].client is None
    assert federation.take_records(1) == []


def test_a_client_that_cannot_take_part_says_why(open_federation: Open, digits: Scenario) -> None:
    tree = digits.tree()
    tree["data"]["partition"]["counts"][0][2] = 0
    with pytest.raises(SemfedError, match="'Sat 1' has no sample of value '2' of its task 't1'"):
        open_federation(Scenario.model_validate(tree))


def test_missing_nodes_are_counted(digits: Scenario) -> None:
    class Alone(InProcessGrid):
        def get_node_ids(self) -> list[int]:
            return list(super().get_node_ids())[:2]

    trial = Trial(digits.arm("clustered"), "clustered", 0)
    with pytest.raises(FederationError, match="2 of 3 nodes are here after 0.1 s"):
        Federation(Alone(make_client_app(), 3), trial, timeout=0.1)


def test_two_nodes_with_one_number_are_refused(digits: Scenario) -> None:
    grid = InProcessGrid(make_client_app(), 3)
    for context in grid.nodes.contexts.values():
        context.node_config["partition-id"] = 0
    with pytest.raises(FederationError, match="two nodes have partition-id 0"):
        Federation(grid, Trial(digits.arm("clustered"), "clustered", 0), timeout=0.1)


def test_an_app_that_breaks_is_reported(open_federation: Open, digits: Scenario) -> None:
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Any) -> Message:
        raise ValueError("broken app")

    with pytest.raises(FederationError, match="a node could not open the trial: ValueError: broken app"):
        open_federation(digits, app=app)


def test_records_are_lines_of_json() -> None:
    record = Record("arm", 1, 2, None, "accuracy/average", 0.1 + 0.2)
    assert Record.from_json(record.to_json()) == record
    assert "note" not in record.to_json()


def test_arrays_keep_their_bits(open_federation: Open, digits: Scenario) -> None:
    array = np.array([1 / 3, np.pi], dtype=np.float32)
    assert ArrayRecord({"a": Array(array)})["a"].numpy().tobytes() == array.tobytes()
    first, second = (open_federation(digits).initial_arrays for _ in range(2))
    assert {k: a.data for k, a in first.items()} == {k: a.data for k, a in second.items()}
