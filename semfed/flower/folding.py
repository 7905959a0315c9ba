"""Replies whose arrays are summed by the process that made them, so that fewer bytes cross to the server's.

A strategy that needs no more than the weighted mean allows it, and every message then has a place, which decides the
order of the sums (`semfed.flower.averaging.Average`): the result does not depend on who summed what.
"""

from collections.abc import Iterable, Iterator

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord

from semfed.flower import arrays as wire
from semfed.flower.adapter import STATE
from semfed.flower.averaging import GROUP, WEIGHT, Folded, Part, weight_of

PLACE = "place"
"""Key in the adapter's record of a message whose reply may be folded."""


def fold(messages: Iterable[Message], replies: Iterable[Message]) -> Iterator[Message]:
    """Sum the replies to messages in neighbouring places, from the first place of a group on, and whole groups.

    Parameters
    ----------
    messages : iterable of Message
        Ascending by their places; a message without a place ends a sum.
    replies : iterable of Message
        One a message, in their order. Only those that the server would accept are summed, weighted by ``num-examples``.

    Yields
    ------
    Message
        The replies, with `Folded` for arrays where these were summed. The first of those that are summed gets the sum,
        which is complete once the last reply was given.
    """
    group = whole = None
    holder = Folded(0)
    for message, reply in zip(messages, replies, strict=True):
        place, metrics = _place(message), _metrics(message, reply)
        goes_on = group is not None and place == group.end
        if place is None or metrics is None or (place % GROUP and not goes_on):
            group = None
            yield reply
            continue
        arrays, weight = wire.views(reply.content["arrays"]), weight_of(metrics)  # type: ignore[arg-type]
        folded = Folded(wire.count_bytes(reply.content["arrays"]))  # type: ignore[arg-type]
        if group is None or not place % GROUP:
            group, holder = Part.of(arrays, weight, place), folded
            holder.part = group
        else:
            group.add(arrays, weight, place)
        reply.content["arrays"] = folded
        if group.end % GROUP == 0:
            if whole is not None and whole.end == group.place and group.place % GROUP**2:
                whole.add_part(group)
                holder.part = None
            else:
                whole = None if group.place % GROUP**2 else group
            group = None
        yield reply


def _place(message: Message) -> int | None:
    about = message.content.get(STATE)
    return int(str(about[PLACE])) if isinstance(about, ConfigRecord) and PLACE in about else None


def _metrics(message: Message, reply: Message) -> MetricRecord | None:
    """Return the metrics of a reply with arrays like the message's own and with a weight, None if it is no such."""
    sent = message.content.get("arrays")
    if reply.has_error() or not isinstance(sent, ArrayRecord) or not sent:
        return None
    metrics = reply.content.get("metrics")
    if not isinstance(metrics, MetricRecord) or WEIGHT not in metrics:
        return None
    return None if wire.mismatch(reply.content.get("arrays"), sent) else metrics
