"""The in-process engine: a Flower ``Grid`` that calls the client app directly. No server, no Ray, no polling."""

import logging
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

CLIENT_RAISED = 2
SERVER = 1
"""Node id of the server, as Flower numbers it."""


class InProcessGrid(Grid):
    """Nodes that live in this process and are served one after the other, in the order of the messages.

    Parameters
    ----------
    client_app : ClientApp
        What runs on every node.
    nodes : int
        Number of nodes; node ids are 2, 3, ... and partition ids 0, 1, ...
    run_config : mapping, optional
        Flower's run config, as clients see it.
    """

    def __init__(self, client_app: ClientApp, nodes: int, run_config: Mapping[str, Any] | None = None) -> None:
        self._client_app = client_app
        self._numbers = count(1)
        self._replies: dict[str, Message] = {}
        self._contexts = {
            index + 2: Context(
                run_id=0,
                node_id=index + 2,
                node_config={"partition-id": index, "num-partitions": nodes},
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for index in range(nodes)
        }

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes, in the order of their partition ids."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let the addressed nodes answer at once; the replies wait to be pulled."""
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"message-{next(self._numbers)}"
            ids.append(message.metadata.message_id)
            self._replies[ids[-1]] = self._answer(message)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to messages that were pushed, each once."""
        return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push and pull; there is nothing to wait for, so `timeout` has no effect."""
        return self.pull_messages(self.push_messages(messages))

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message for a node."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def set_run(self, run: Any) -> None:
        """Nothing to do: there is one run, number 0."""

    @property
    def run(self) -> Any:
        """No run of a SuperLink stands behind this grid."""
        return None

    def _answer(self, message: Message) -> Message:
        context = self._contexts[message.metadata.dst_node_id]
        try:
            reply = self._client_app(message, context)
        except Exception as error:
            reason = f"{traceback.format_exc()}\n{type(error).__name__}: {error}"
            reply = Message(Error(CLIENT_RAISED, reason), reply_to=message)
        reply.metadata.__dict__["_message_id"] = f"message-{next(self._numbers)}"
        return reply


@contextmanager
def flower_identity() -> Iterator[None]:
    """Let this process create messages, which Flower allows only to a task, and keep Flower's log to warnings.

    Everything is put back afterwards.
    """
    names = ("_task_id", "_run_id", "_node_id")
    before = [getattr(TaskIdentity, name) for name in names]
    log = logging.getLogger("flwr")
    level = log.level
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 0, 0, SERVER
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
        for name, value in zip(names, before, strict=True):
            setattr(TaskIdentity, name, value)
