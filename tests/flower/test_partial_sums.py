"""Sums that workers make give the same mean as sums made in one place, to the last bit."""

from itertools import pairwise

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from semfed.flower import arrays as wire
from semfed.flower.averaging import Average, SummedReply, add_reply
from semfed.flower.partial_sums import fold
from semfed.flower.protocol import PLACE, STATE

pytestmark = pytest.mark.usefixtures("identity")
SENT = wire.record({"w": np.zeros(3, np.float32), "n": np.zeros((), np.int64)})


def ask(place: int | None, total: int = 200) -> Message:
    about = ConfigRecord({"client": 0} if place is None else {"client": 0, PLACE: [place, total]})
    return Message(RecordDict({"arrays": SENT, STATE: about}), 2, "train")


def answer(message: Message, place: int, *, bad: bool = False) -> Message:
    noise = np.random.default_rng(place)
    value = np.full(3, np.nan, np.float32) if bad else noise.standard_normal(3).astype(np.float32)
    arrays = wire.record({"w": value, "n": np.array(place)})
    metrics = MetricRecord({"num-examples": int(noise.integers(1, 100))})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


def mean(replies: dict[int, Message], total: int = 200) -> dict[str, bytes]:
    average = Average(total)
    for place, reply in sorted(replies.items()):
        add_reply(average, reply, weighted=True, place=place)
    return {name: array.tobytes() for name, array in average.mean().items()}


def folded(places: list[int], total: int = 200) -> dict[int, Message]:
    messages = [ask(place, total) for place in places]
    replies = [answer(message, place) for message, place in zip(messages, places, strict=True)]
    return dict(zip(places, fold(messages, replies), strict=True))


@given(st.integers(1, 200), st.lists(st.integers(1, 199), max_size=6), st.sets(st.integers(0, 199), max_size=5))
def test_the_mean_does_not_depend_on_who_summed(count: int, cuts: list[int], missing: set[int]) -> None:
    there = [place for place in range(count) if place not in missing]
    edges = sorted({0, count, *(cut for cut in cuts if cut < count)})
    batches = [[p for p in there if low <= p < high] for low, high in pairwise(edges)]
    together: dict[int, Message] = {}
    for batch in batches:
        together |= folded(batch, count)
    assert mean(together, count) == mean({place: answer(ask(place), place) for place in there}, count)


def parts(replies: dict[int, Message]) -> list[tuple[int, int]]:
    folds = [reply.content["arrays"] for reply in replies.values()]
    assert {wire.count_bytes(SENT)} == {fold.count_bytes() for fold in folds if isinstance(fold, SummedReply)}
    return [(f.part.place, f.part.end) for f in folds if isinstance(f, SummedReply) and f.part is not None]


def test_one_sum_stands_for_half_of_the_clients() -> None:
    assert parts(folded(list(range(50)), 100)) == [(0, 50)]
    assert parts(folded(list(range(50, 100)), 100)) == [(50, 100)]
    assert parts(folded(list(range(100)), 100)) == [(0, 100)]


def test_one_sum_stands_for_whole_groups_and_one_for_the_beginning_of_the_next() -> None:
    replies = folded(list(range(22, 40)), 100)
    assert parts(replies) == [(25, 37), (37, 40)]
    alone = [place for place, reply in replies.items() if not isinstance(reply.content["arrays"], SummedReply)]
    assert alone == [22, 23, 24]


def test_what_the_server_would_refuse_is_left_to_it() -> None:
    places = [0, 1, 2]
    messages = [ask(place) for place in places]
    replies = [
        answer(messages[0], 0),
        answer(messages[1], 1, bad=True),
        Message(Error(2, "as asked"), reply_to=messages[2]),
    ]
    first, second, third = fold(messages, replies)
    assert isinstance(first.content["arrays"], SummedReply)
    assert type(second.content["arrays"]) is ArrayRecord
    assert third.has_error()


def test_nothing_is_summed_without_a_place() -> None:
    message = ask(None)
    (reply,) = fold([message], [answer(message, 0)])
    assert type(reply.content["arrays"]) is ArrayRecord
