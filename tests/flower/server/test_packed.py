"""Packed replies, those too that a node has damaged."""

from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from semfed.engine.inprocess import InProcessGrid
from semfed.flower.compat import CLIENT_RAISED, number
from semfed.flower.packing import PACKED, pack
from semfed.flower.server import packed

pytestmark = pytest.mark.usefixtures("identity")


class Link:
    """Has these replies."""

    def __init__(self, *contents: RecordDict) -> None:
        asked = [number(Message(RecordDict(), node, "train"), f"m{node}") for node in range(len(contents))]
        self.replies = [Message(content, reply_to=message) for content, message in zip(contents, asked, strict=True)]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [reply for reply in self.replies if reply.metadata.reply_to_message_id in set(message_ids)]


def pulled(*contents: RecordDict) -> list[Message]:
    link = cast(InProcessGrid, Link(*contents))
    return list(packed.pull(link, [f"m{node}" for node in range(len(contents))]))


def whole() -> RecordDict:
    arrays = ArrayRecord({"weight": Array(np.arange(6, dtype=np.float32)), "bias": Array(np.zeros(2))})
    return pack(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 3})}))


@given(cut=st.integers(0, 80), label=st.text(max_size=20), data=st.one_of(st.binary(max_size=20), st.integers(0, 9)))
def test_a_damaged_reply_costs_no_more_than_itself(cut: int, label: str, data: Any) -> None:
    short, strange, bare = whole(), whole(), whole()
    array = short.array_records["arrays"][PACKED]
    short["arrays"] = ArrayRecord({PACKED: Array(array.dtype, array.shape, array.stype, array.data[:cut])})
    strange[PACKED] = ConfigRecord({label: data})
    bare["more"] = ArrayRecord()
    first, *damaged, last = pulled(whole(), short, strange, bare, whole())
    for reply in (first, last):
        assert reply.content["metrics"] == MetricRecord({"num-examples": 3})
        assert reply.content.array_records["arrays"]["weight"].numpy().tolist() == [0, 1, 2, 3, 4, 5]
    for node, reply in enumerate(damaged, 1):
        assert reply.metadata.reply_to_message_id == f"m{node}"
        assert reply.error.code == CLIENT_RAISED
        assert str(reply.error.reason).startswith("its reply cannot be unpacked: ")


def test_what_is_not_packed_is_left_as_it_is() -> None:
    content = RecordDict({"metrics": MetricRecord({"n": 1})})
    (reply,) = pulled(content)
    assert reply.content is content
