import logging

import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

from semfed.engine.inprocess import InProcessGrid
from semfed.flower.compat import task_identity


def echo() -> ClientApp:
    app = ClientApp()

    @app.query()
    def query(message, context):
        if message.content["config"].get("fail"):
            raise ValueError("as asked")
        context.state["seen"] = ConfigRecord({"times": int(context.state.get("seen", {}).get("times", 0)) + 1})
        return Message(
            RecordDict({"m": MetricRecord({"id": context.node_config["partition-id"], **context.state["seen"]})}),
            reply_to=message,
        )

    return app


def ask(node: int, **config: bool) -> Message:
    return Message(RecordDict({"config": ConfigRecord(config)}), node, "query")


def test_nodes_answer_in_order_and_keep_their_state() -> None:
    with task_identity():
        grid = InProcessGrid(echo(), 3)
        nodes = list(grid.get_node_ids())
        for times in (1, 2):
            replies = list(grid.send_and_receive([ask(node) for node in reversed(nodes)]))
            assert [dict(reply.content["m"]) for reply in replies] == [{"id": k, "times": times} for k in (2, 1, 0)]
            assert [reply.metadata.src_node_id for reply in replies] == nodes[::-1]


def test_a_reply_can_be_pulled_once() -> None:
    with task_identity():
        grid = InProcessGrid(echo(), 1)
        message = ask(2)
        (name,) = grid.push_messages([message])
        assert name == message.metadata.message_id
        (reply,) = grid.pull_messages([name])
        assert reply.metadata.reply_to_message_id == name
        assert list(grid.pull_messages([name])) == []


def test_an_exception_becomes_an_error_reply() -> None:
    with task_identity():
        (reply,) = InProcessGrid(echo(), 1).send_and_receive([ask(2, fail=True)])
    assert reply.has_error()
    assert reply.error.code == 2
    assert str(reply.error.reason).endswith("ValueError: as asked")


def test_the_process_is_left_as_it_was() -> None:
    level = logging.getLogger("flwr").level
    with task_identity():
        assert TaskIdentity.node_id == 1
    with pytest.raises(RuntimeError, match="not set"):
        _ = TaskIdentity.node_id
    assert logging.getLogger("flwr").level == level
