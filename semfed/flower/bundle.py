"""Messages of several clients in one, for a node that hosts them: in a deployment a message costs seconds.

Names of records begin with the clients that they are for: ``3/config`` belongs to client 3 alone, and what several
messages have in common travels once, as ``0,3,6/arrays``. Replies are packed alike; a client's error is a record too.
"""

import traceback
from collections.abc import Mapping
from copy import copy
from logging import ERROR

from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.common import log

from semfed.flower import arrays as wire
from semfed.flower.compat import CLIENT_RAISED, ClientAppCallable

BUNDLE = "semfed.bundle"
"""Record that makes a content a bundle and lists its clients."""
FAILED = "semfed.failed"
"""Record of a client that has an error instead of an answer."""
LIMIT = 256 * 2**20
"""Bytes of arrays in one bundle: the process that answers it holds them and the replies, which are about as large."""


def cut(messages: Mapping[int, Message], limit: int = LIMIT, most: int | None = None) -> list[dict[int, Message]]:
    """Divide the messages to one node into those that may travel together, in their order.

    Parameters
    ----------
    messages : mapping of int to Message
        By client.
    limit : int
        Bytes of arrays in one bundle; a message that has more travels alone. Arrays that messages share count in each.
    most : int, optional
        Messages in one bundle, where the replies are larger than these.

    Returns
    -------
    list of dict of int to Message
        Messages of one dict have the same type, group and time to live.
    """
    if len(messages) < 2:
        return [dict(messages)]
    bundles: list[dict[int, Message]] = []
    kind, room = None, 0
    for client, message in messages.items():
        about = message.metadata
        own = about.message_type, about.group_id, about.ttl
        size = sum(wire.count_bytes(record) for record in message.content.array_records.values())
        if own != kind or size > room or len(bundles[-1]) == most:
            bundles.append({})
            kind, room = own, limit
        bundles[-1][client] = message
        room -= size
    return bundles


def pack(parts: Mapping[int, RecordDict | Error]) -> RecordDict:
    """Make one content of the contents, or errors, of several clients."""
    sharing: dict[tuple[str, int], tuple[list[int], ArrayRecord | ConfigRecord | MetricRecord]] = {}
    for client, part in parts.items():
        if isinstance(part, Error):
            part = RecordDict({FAILED: ConfigRecord({"code": part.code, "reason": part.reason or ""})})
        for name, record in part.items():
            sharing.setdefault((name, id(record)), ([], record))[0].append(client)
    content = RecordDict({BUNDLE: ConfigRecord({"clients": list(parts)})})
    for (name, _), (clients, record) in sharing.items():
        content[f"{','.join(map(str, clients))}/{name}"] = record
    return content


def unpack(content: RecordDict) -> dict[int, RecordDict | Error]:
    """Return what `pack` was given; nothing of what is no bundle."""
    mark = content.get(BUNDLE)
    listed = mark["clients"] if isinstance(mark, ConfigRecord) else []
    contents = {str(client): RecordDict() for client in listed}  # type: ignore[union-attr]
    for full_name, record in content.items():
        clients, _, name = full_name.partition("/")
        for client in clients.split(","):
            if client in contents:
                contents[client][name] = record
    return {int(client): _failure(own) or own for client, own in contents.items()}


def one_by_one(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """Serve the clients of a bundle one after the other, each as if its message had come alone.

    A Flower mod. Of a client that raises, the server gets what Flower would have told it; the others are served all the
    same.
    """
    if BUNDLE not in message.content:
        return answer(message, context)
    parts: dict[int, RecordDict | Error] = {}
    for client, content in unpack(message.content).items():
        own = copy(message)
        own.content = content  # type: ignore[assignment]  # errors do not come from the server
        try:
            reply = answer(own, context)
            parts[client] = reply.error if reply.has_error() else reply.content
        except Exception as error:
            log(ERROR, "client %d raised an exception", client, exc_info=error)
            parts[client] = Error(CLIENT_RAISED, f"{traceback.format_exc()}\n{type(error).__name__}: {error}")
    return Message(pack(parts), reply_to=message)


def _failure(content: RecordDict) -> Error | None:
    record = content.get(FAILED)
    return Error(int(str(record["code"])), str(record["reason"])) if isinstance(record, ConfigRecord) else None
