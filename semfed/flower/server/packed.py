"""Messages on their way through a SuperLink with as few objects as they can have."""

from collections.abc import Iterable, Iterator

from flwr.app import ArrayRecord, Error, Message
from flwr.serverapp import Grid

from semfed.flower.bundle import BUNDLE
from semfed.flower.compat import CLIENT_RAISED, as_error, number
from semfed.flower.packing import PACKED, pack, unpack
from semfed.flower.protocol import STATE


def push(grid: Grid, messages: Iterable[Message]) -> Iterable[str]:
    """Send packed copies, unless they go to an app that is not this package's.

    Parameters
    ----------
    grid : Grid
    messages : iterable of Message
        They get their copies' ids.

    Returns
    -------
    iterable of str
        As Flower's grid has it.
    """
    given, known = list(messages), dict[int, ArrayRecord]()
    copies = [_packed(message, known) for message in given]
    taken = grid.push_messages(copies)
    for message, sent in zip(given, copies, strict=True):
        number(message, sent.metadata.message_id)
    return taken


def pull(grid: Grid, message_ids: Iterable[str]) -> Iterator[Message]:
    """Return the replies that have come, as the clients made them."""
    for reply in grid.pull_messages(message_ids):
        if reply.has_content() and PACKED in reply.content:
            try:
                reply.content = unpack(reply.content)
            except Exception as problem:  # whatever a node may send, it costs the run no more than this reply
                text = f"its reply cannot be unpacked: {type(problem).__name__}: {problem}"
                reply = as_error(reply, Error(CLIENT_RAISED, text))
        yield reply


def _packed(message: Message, known: dict[int, ArrayRecord]) -> Message:
    if STATE not in message.content and BUNDLE not in message.content:
        return message
    content, about = pack(message.content, known), message.metadata
    return Message(content, about.dst_node_id, about.message_type, ttl=about.ttl, group_id=about.group_id)
