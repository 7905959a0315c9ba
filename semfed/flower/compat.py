"""All that this package takes from Flower beside its public interface: a new version of Flower can break this alone.

Public is what Flower's API reference lists: ``flwr.app``, ``flwr.serverapp``, ``flwr.clientapp``, ``flwr.client``,
``flwr.common`` and ``flwr.simulation``, with the names that these packages export. Tests forbid the rest elsewhere.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flwr.app import Array, Error, Message
from flwr.clientapp.typing import ClientAppCallable as ClientAppCallable
from flwr.clientapp.typing import Mod as Mod
from flwr.common.constant import ErrorCode
from flwr.supercore.task_identity import TaskIdentity

from semfed.errors import EngineError

CLIENT_RAISED = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
"""Code of an error: the client app raised."""
CLIENT_CRASHED = ErrorCode.CLIENT_APP_CRASHED
"""Code of an error: the process of the client app died."""
NO_REPLY = ErrorCode.REPLY_MESSAGE_UNAVAILABLE
"""Code of an error: a node did not answer, or its answer was lost."""
SERVER = 1
"""Node id of the server, as Flower numbers it."""
SOON_S = 0.1
"""After this time `ask_soon_again` asks again."""
SOON = 10
"""How often, before Flower itself does, which waits for 1 s and then for longer."""
DEAD_ACTOR = "ActorDiedError"
"""Flower's simulation leaves a dead Ray actor in its pool, where it fails at once whatever it is given."""


@contextmanager
def task_identity() -> Iterator[None]:
    """Let this process create messages, which Flower allows only to a task, and keep Flower's log to warnings.

    `TaskIdentity` is a class whose attributes say which task, run and node a process is. Its setters are not public;
    that they can be unset again is known from the underscored attributes alone. Everything is put back afterwards.
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


def number(message: Message, id_: str) -> Message:
    """Give a message its id, as a SuperLink would: there is no public way, and replies name what they reply to."""
    message.metadata.__dict__["_message_id"] = id_
    return message


def as_error(reply: Message, error: Error) -> Message:
    """Return an error in the place of a reply, where the message that it replies to is not at hand."""
    make: Any = Message  # that it takes metadata is not public
    made: Message = make(error, metadata=reply.metadata)
    return made


def set_fields(array: Array, **fields: Any) -> None:
    """Set attributes of an array past its ``__setattr__``, which looks at each for a cache that ours do not have."""
    array.__dict__.update(fields)


def is_superlinks(grid: object) -> bool:
    """Say whether a grid is a deployment's; its class is in a package that takes seconds to import."""
    from flwr.superlink.grid import HttpGrid

    return isinstance(grid, HttpGrid)


def ask_soon_again(grid: Any) -> None:
    """Let a deployment's grid ask soon for what a SuperLink has announced and does not have yet.

    A SuperNode announces a reply and then sends its objects one by one. Who asks meanwhile waits for a second, and the
    other replies with it; no public option changes that.
    """
    client = grid._runtime_client
    pull = client.PullObject

    def patient(request: Any) -> Any:
        for _ in range(SOON):
            response = pull(request)
            if response.object_available or not response.object_found:
                break
            time.sleep(SOON_S)
        return response

    client.PullObject = patient


def online_until(grid: Any) -> dict[int, float]:
    """Return until when a SuperLink takes every node to be online, in seconds since 1970; only `HttpGrid` tells."""
    return {node.node_id: node.online_until for node in grid.get_nodes()}


def is_of_dead_actor(error: Error) -> bool:
    """Say whether a Ray actor of Flower's simulation has died; the error's text alone tells."""
    return DEAD_ACTOR in (error.reason or "")


def refuse_dead_actor(error: Error, client: str) -> None:
    """End a run in which a Ray actor of Flower's simulation has died: most of the later messages would fail.

    Raises
    ------
    EngineError
    """
    if is_of_dead_actor(error):
        raise EngineError(
            f"a worker process of Flower's simulation died while it served {client!r}; Flower does not replace it: "
            "look for a crash or too little memory, or use --engine ray, which does"
        )
