from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semfed.flower.bundle import BUNDLE, cut, one_by_one, pack, unpack
from semfed.flower.server.federation import sentence

pytestmark = pytest.mark.usefixtures("identity")


def arrays(values: int = 2) -> ArrayRecord:
    return ArrayRecord({"w": Array(np.zeros(values, np.uint8))})


def test_what_messages_share_travels_once_and_the_rest_under_its_client() -> None:
    model, own = arrays(), ConfigRecord({"cluster": 1})
    packed = pack({0: RecordDict({"arrays": model, "config": own}), 3: RecordDict({"arrays": model}), 6: RecordDict()})
    assert list(packed) == [BUNDLE, "0,3/arrays", "0/config"]
    assert packed["0,3/arrays"] is model
    found = unpack(packed)
    assert {client: list(part) for client, part in found.items()} == {0: ["arrays", "config"], 3: ["arrays"], 6: []}


def test_equal_arrays_that_are_not_the_same_stay_apart() -> None:
    packed = pack({0: RecordDict({"arrays": arrays()}), 1: RecordDict({"arrays": arrays()})})
    assert list(packed) == [BUNDLE, "0/arrays", "1/arrays"]


def test_an_error_is_a_part_of_its_own() -> None:
    found = unpack(pack({1: RecordDict({"arrays": arrays()}), 10: Error(2, "no power"), 11: Error(5)}))
    assert isinstance(found[1], RecordDict)
    assert (found[10].code, found[10].reason) == (2, "no power")
    assert (found[11].code, found[11].reason) == (5, "")


def test_nothing_comes_out_of_what_is_no_bundle() -> None:
    assert unpack(RecordDict({"0/arrays": arrays()})) == {}


RECORDS = [arrays(0), arrays(2), arrays(2), ConfigRecord({"text": "a"}), ConfigRecord({}), MetricRecord({"loss": 0.5})]
CONTENTS = st.dictionaries(
    st.sampled_from(["arrays", "config", "a/b", "1", "1,2/x", ""]), st.sampled_from(RECORDS), max_size=3
)
PARTS = st.dictionaries(
    st.integers(0, 200), CONTENTS | st.builds(Error, st.integers(0, 8), st.text(max_size=9)), max_size=5
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first draw is slow on a busy machine
@given(PARTS)
def test_every_client_gets_back_what_was_packed_for_it(parts: dict[int, Any]) -> None:
    given_parts = {client: part if isinstance(part, Error) else RecordDict(part) for client, part in parts.items()}
    found = unpack(pack(given_parts))
    assert list(found) == list(given_parts)
    for client, part in given_parts.items():
        assert isinstance(part, Error) == isinstance(found[client], Error)
        assert isinstance(part, Error) or dict(part) == dict(found[client])
        assert not isinstance(part, Error) or (part.code, part.reason) == (found[client].code, found[client].reason)


def message(client: int, kind: str = "train", size: int = 100, group: str = "1") -> Message:
    return Message(RecordDict({"arrays": arrays(size)}), client, kind, group_id=group)


def clients(bundles: list[dict[int, Message]]) -> list[list[int]]:
    return [list(bundle) for bundle in bundles]


def test_bundles_are_cut_at_a_number_of_bytes_and_keep_the_order() -> None:
    one = sum(record.count_bytes() for record in message(0).content.array_records.values())
    sent = {client: message(client) for client in range(5)}
    assert clients(cut(sent)) == [[0, 1, 2, 3, 4]]
    assert clients(cut(sent, most=2)) == [[0, 1], [2, 3], [4]]
    assert clients(cut(sent, 2 * one)) == [[0, 1], [2, 3], [4]]
    assert clients(cut(sent, 2 * one - 1)) == [[0], [1], [2], [3], [4]]
    assert clients(cut({0: message(0), 1: message(1, size=10_000), 2: message(2)}, 2 * one)) == [[0], [1], [2]]


def test_only_messages_of_one_kind_and_group_travel_together() -> None:
    sent = {0: message(0), 1: message(1, "evaluate"), 2: message(2, "evaluate"), 3: message(3, "evaluate", group="2")}
    assert clients(cut(sent)) == [[0], [1, 2], [3]]


def test_clients_are_served_alone_and_one_that_raises_does_not_hurt_the_others() -> None:
    seen = []

    def answer(own: Message, _: Context) -> Message:
        seen.append(dict(own.content))
        number = own.content["config"]["number"]
        if number == 1:
            raise ZeroDivisionError("no power")
        if number == 2:
            return Message(Error(2, "in its own words"), reply_to=own)
        return Message(RecordDict({"metrics": MetricRecord({"n": number})}), reply_to=own)

    contents = {client: RecordDict({"config": ConfigRecord({"number": client})}) for client in range(4)}
    where = Context(0, 7, {}, RecordDict(), {})
    reply = one_by_one(Message(pack(contents), 7, "train.forward", group_id="3"), where, answer)
    assert seen == [dict(content) for content in contents.values()]
    found = unpack(reply.content)
    assert [found[k]["metrics"]["n"] for k in (0, 3)] == [0, 3]
    assert [(found[k].code, sentence(found[k])) for k in (1, 2)] == [
        (2, "ZeroDivisionError: no power"),
        (2, "in its own words"),
    ]
    assert "in answer\n" in found[1].reason, "the traceback"


def test_a_message_that_is_no_bundle_passes_as_it_is() -> None:
    own = message(1)
    reply = Message(RecordDict(), reply_to=own)
    assert one_by_one(own, Context(0, 7, {}, RecordDict(), {}), lambda m, _: reply if m is own else own) is reply
