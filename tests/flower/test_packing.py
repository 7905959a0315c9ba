"""Contents with few objects, from and to what they were."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from semfed.flower import arrays as wire
from semfed.flower.packing import PACKED, pack, packed_alike, unpack

pytestmark = pytest.mark.usefixtures("identity")

ARRAYS = {
    "weight": Array(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "none": Array(np.zeros((0, 4), np.int64)),
    "scalar": Array(np.array(np.nan)),
    "other": Array("what", (7,), "a format of its own", b"\n\x00 bytes"),
    'a "name"\nof two lines': Array("uint8", (0,), "", b""),
}
RECORDS = st.one_of(
    st.dictionaries(st.sampled_from([*ARRAYS]), st.none()).map(
        lambda names: ArrayRecord({n: ARRAYS[n] for n in names})
    ),
    st.sampled_from(
        [
            ConfigRecord(),
            ConfigRecord({"n": 2**63 - 1, "yes": True, "text": "ä\n", "raw": b"\x00", "many": [0.1, -0.0], "no": []}),
            MetricRecord({"loss": float("inf"), "counts": [1, 2], "tiny": 5e-324}),
        ]
    ),
)
CONTENTS = st.dictionaries(st.sampled_from(["arrays", "0,3/arrays", "config", "two words", "", PACKED + " "]), RECORDS)


@given(CONTENTS)
def test_a_content_comes_back_as_it_was(records: dict[str, Any]) -> None:
    content = RecordDict(records)
    before = dict(content.items())
    back = unpack(pack(content))
    assert set(back) == set(before) == set(content)
    for name, record in before.items():
        assert type(back[name]) is type(record)
        assert list(back[name].items()) == list(record.items())  # arrays by dtype, shape, format and bytes
        assert back[name].object_id == record.object_id


def test_a_network_and_its_orders_are_six_objects() -> None:
    layers = wire.record({f"layer.{k}": np.full((3, 3), k, np.float32) for k in range(10)})
    orders = {f"{client}/config": ConfigRecord({"client": client}) for client in range(5)}
    content = RecordDict({"arrays": layers, **orders})
    message = Message(pack(content), dst_node_id=2, message_type="train")
    assert objects(Message(content, dst_node_id=2, message_type="train")) == 1 + 1 + (1 + 10 * 2) + 5
    assert objects(message) == 1 + 1 + 3 + 1


def objects(thing: Any) -> int:
    """Count an object and those below it, as a SuperLink does."""
    return 1 + sum(objects(child) for child in (thing.children or {}).values())


def test_what_contents_share_is_packed_once() -> None:
    shared, known = ArrayRecord(dict(ARRAYS)), dict[int, ArrayRecord]()
    one, other = (pack(RecordDict({"arrays": shared, "config": ConfigRecord({"n": n})}), known) for n in range(2))
    assert one["arrays"] is other["arrays"]
    assert unpack(other)["config"] == ConfigRecord({"n": 1})


def test_a_reply_is_packed_if_its_message_was() -> None:
    content = RecordDict({"arrays": ArrayRecord(dict(ARRAYS)), "config": ConfigRecord({"n": 1})})
    seen = list[RecordDict]()

    def answer(message: Message, context: Context) -> Message:
        seen.append(message.content)
        return Message(RecordDict({"metrics": MetricRecord({"n": 2})}), reply_to=message)

    def ask(content: RecordDict) -> Message:
        message = Message(content, dst_node_id=2, message_type="train")
        reply = packed_alike(message, Context(0, 0, {}, RecordDict(), {}), answer)
        assert message.content is content  # which may be sent again
        return reply

    assert list(ask(content).content) == ["metrics"]
    reply = ask(pack(content))
    assert list(reply.content) == [PACKED]
    assert unpack(reply.content)["metrics"] == MetricRecord({"n": 2})
    assert [sorted(given) for given in seen] == [["arrays", "config"]] * 2


def test_an_error_is_left_as_it_is() -> None:
    def answer(message: Message, context: Context) -> Message:
        return Message(Error(2, "no power"), reply_to=message)

    message = Message(pack(RecordDict()), dst_node_id=2, message_type="train")
    reply = packed_alike(message, Context(0, 0, {}, RecordDict(), {}), answer)
    assert reply.error.reason == "no power"
