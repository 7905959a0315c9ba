import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from semfed.engine.spill import AHEAD, StateSpill
from semfed.errors import EngineError
from semfed.flower import arrays as wire


def state(node: int, size: int = 1000) -> RecordDict:
    numbers = np.random.default_rng(node)
    records = RecordDict({"semfed": ConfigRecord({"trial": "text"})})
    records["0/encoder"] = wire.record(
        {"w": numbers.standard_normal((size, 3)).astype(np.float32), "steps": np.array(node), "none": np.zeros((0, 2))}
    )
    records["0/optimizer"] = wire.record({"m": numbers.standard_normal(size + node)})
    return records


def same(one: RecordDict, other: RecordDict) -> bool:
    def content(records: RecordDict) -> dict[str, object]:
        return {
            name: {key: (a.dtype, a.shape, a.numpy().tobytes()) for key, a in record.items()}
            if isinstance(record, ArrayRecord)
            else dict(record)
            for name, record in records.items()
        }

    return content(one) == content(other)


@given(order=st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_states_come_back_whole_in_any_order(order: list[int]) -> None:
    spill = StateSpill(0.045)
    states = {node: state(node) for node in range(6)}
    for node in order:
        spill.fetch(node, states[node])
        assert same(states[node], state(node))
        spill.keep(node, states[node])


@given(visits=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("mwnr+")), min_size=1, max_size=40))
def test_what_is_changed_comes_back_changed(visits: list[tuple[int, str]]) -> None:
    spill = StateSpill(0.03)
    states, expected = [{node: state(node) for node in range(4)} for _ in range(2)]
    for step, (node, change) in enumerate(visits):
        spill.fetch(node, states[node])
        assert same(states[node], expected[node])
        for records in (states[node], expected[node]):
            if change == "m":
                records["0/optimizer"] = wire.record({"m": np.full(1000 + node, float(step))})
            elif change == "w":
                records.array_records["0/encoder"]["w"] = wire.LocalArray(np.full((1000, 3), step, np.float32))
            elif change == "r":  # in another order, so that each lies elsewhere
                first = next(iter(records))
                records[first] = records.pop(first)
            elif change == "+":
                records[f"0/more-{step}"] = wire.record({"x": np.arange(step)})
        spill.keep(node, states[node])


def test_only_what_is_new_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, part, start: written.append(len(part)) or whole(file, part, start))
    spill, own = StateSpill(0.0), state(0)
    spill.keep(0, own)
    assert written == [12_000, 8, 8_000]
    spill.fetch(0, own)
    spill.keep(0, own)
    assert len(written) == 3
    spill.fetch(0, own)
    own["0/optimizer"] = wire.record({"m": np.ones(1000)})
    spill.keep(0, own)
    assert written[3:] == [8_000]
    spill.fetch(0, own)
    assert own.array_records["0/optimizer"]["m"].numpy().tolist() == [1.0] * 1000


def test_an_array_of_an_earlier_reading_is_written_again() -> None:
    spill, own = StateSpill(0.0), state(0)
    spill.keep(0, own)
    spill.fetch(0, own)
    old = own["0/optimizer"]
    for record in (wire.record({"m": np.ones(1000)}), old):
        own["0/optimizer"] = record
        spill.keep(0, own)
        spill.fetch(0, own)
    assert same(own, state(0))


def test_memory_holds_no_more_than_the_budget() -> None:
    spill = StateSpill(0.1)
    states = {node: state(node) for node in range(20)}
    for node, own in states.items():
        spill.keep(node, own)
    assert _inside(list(states.values())) == [0, 1, 2, 3]
    spill.fetch(19, states[19])  # written last
    assert spill.disk_bytes >= 16 * sum(a.numpy().nbytes for r in state(0).array_records.values() for a in r.values())


def _inside(states: list[RecordDict]) -> list[int]:
    return [node for node, own in enumerate(states) if own.array_records]


def test_of_states_that_come_in_turn_some_always_stay() -> None:
    spill, states = StateSpill(0.1), [state(node) for node in range(20)]
    for _ in range(3):
        for node, own in enumerate(states):
            spill.fetch(node, own)
            spill.keep(node, own)
        assert _inside(states) == [0, 1, 2, 3]


def test_states_that_are_used_again_soon_take_the_place_of_idle_ones() -> None:
    spill, states = StateSpill(0.1), [state(node) for node in range(20)]
    for node, own in enumerate(states):
        spill.keep(node, own)
    for _ in range(2):
        for node in (7, 12, 15):
            spill.fetch(node, states[node])
            spill.keep(node, states[node])
    assert _inside(states) == [3, 7, 12, 15]


def test_a_state_that_shrank_and_grew_again_is_read_as_it_is() -> None:
    spill, first, other = StateSpill(0.001), state(0), state(1)
    for size in (1000, 10, 500):
        first["0/encoder"] = wire.record({"w": np.arange(size)})
        spill.keep(0, first)
        spill.keep(1, other)
        spill.fetch(0, first)
        assert wire.views(first["0/encoder"])["w"].tolist() == list(range(size))  # type: ignore[arg-type]


def test_states_without_arrays_touch_no_disk() -> None:
    spill = StateSpill(0.0)
    for node in range(5):
        spill.keep(node, RecordDict({"semfed": ConfigRecord({"trial": "text"})}))
    assert spill.disk_bytes == 0


def test_a_full_disk_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    spill, states = StateSpill(0.001), [state(0), state(1)]
    spill.keep(0, states[0])
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(EngineError, match=r"client states beyond 0.001 MB .* raise --state-memory"):
        spill.keep(1, states[1])
    spill.fetch(0, states[0])
    assert same(states[0], state(0))
    assert same(states[1], state(1))


def test_nothing_would_stay_on_the_disk_of_a_process_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spill = StateSpill(0.0)
    for node in range(3):
        spill.keep(node, state(node))
    assert spill.disk_bytes > 0
    assert list(tmp_path.iterdir()) == []
    spill.close()
    assert spill.disk_bytes == 0


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no such advice")
def test_states_are_read_ahead_in_the_order_of_the_last_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    advised: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, start, size, advice: advised.append(start))
    spill = StateSpill(0.0)
    order, states = [3, 1, 4, 0, 5, 2, 6], {node: state(node) for node in range(7)}
    for node in order:
        spill.fetch(node, states[node])
        spill.keep(node, states[node])
    assert not advised
    places = list(np.cumsum([0, *(spill._slots[node].room for node in order)]))
    for node in order:
        spill.fetch(node, states[node])
        spill.keep(node, states[node])
    assert advised == [places[(k + AHEAD) % len(order)] for k in range(len(order))]
