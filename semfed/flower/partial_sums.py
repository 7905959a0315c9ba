"""Replies whose arrays are summed by the process that made them, so that fewer bytes cross to the server's.

A strategy that needs no more than the weighted mean allows it, and every message then has a place, which decides the
order of the sums (`semfed.flower.averaging.Average`): the result does not depend on who summed what.
"""

from collections.abc import Iterable, Iterator

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord

from semfed.flower import arrays as wire
from semfed.flower.averaging import WEIGHT, PartialSum, SummedReply, half, weight_of
from semfed.flower.protocol import PLACE, STATE


def fold(messages: Iterable[Message], replies: Iterable[Message]) -> Iterator[Message]:
    """Sum the replies to messages in neighbouring places: the first ones of a group, whole groups, and whole halves.

    Parameters
    ----------
    messages : iterable of Message
        Ascending by their places.
    replies : iterable of Message
        One a message, in their order. Only those that the server would accept are summed, weighted by ``num-examples``.

    Yields
    ------
    Message
        The replies, with `SummedReply` for arrays where these were summed. The first of those that are summed gets the
        sum, which is complete once the last reply was given.
    """
    sums: list[tuple[PartialSum, SummedReply]] = []
    for message, reply in zip(messages, replies, strict=True):
        metrics, (place, total) = _metrics(message, reply), _place(message)
        begins = half(total, place, place)[0]
        goes_on = bool(sums) and (sums[-1][0].place, sums[-1][0].end) == (begins, place)
        if metrics is None or not total or not (goes_on or place == begins):
            yield reply
            continue
        arrays, weight = wire.views(reply.content["arrays"]), weight_of(metrics)  # type: ignore[arg-type]
        reply.content["arrays"] = holder = SummedReply(wire.count_bytes(reply.content["arrays"]))  # type: ignore[arg-type]
        if goes_on:
            sums[-1][0].add(arrays, weight, place)
        else:
            holder.part = PartialSum.of(arrays, weight, place)
            sums.append((holder.part, holder))
        while len(sums) > 1 and _are_halves(sums[-2][0], sums[-1][0], total):
            part, emptied = sums.pop()
            sums[-1][0].add_part(part)
            emptied.part = None
        yield reply


def _are_halves(one: PartialSum, other: PartialSum, total: int) -> bool:
    return one.end == other.place and (one.place, other.end) == half(total, one.place, other.place)


def _place(message: Message) -> tuple[int, int]:
    """Return a message's place and how many there are, which is 0 if it has none."""
    about = message.content.get(STATE)
    place = about.get(PLACE) if isinstance(about, ConfigRecord) else None
    return (int(place[0]), int(place[1])) if isinstance(place, list) else (0, 0)


def _metrics(message: Message, reply: Message) -> MetricRecord | None:
    """Return the metrics of a reply with arrays like the message's own and with a weight, None if it is no such."""
    sent = message.content.get("arrays")
    if reply.has_error() or not isinstance(sent, ArrayRecord) or not sent:
        return None
    metrics = reply.content.get("metrics")
    if not isinstance(metrics, MetricRecord) or WEIGHT not in metrics:
        return None
    return None if wire.mismatch(reply.content.get("arrays"), sent) else metrics
