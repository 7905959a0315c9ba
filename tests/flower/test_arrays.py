import pickle

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from semfed.flower.arrays import SMALL_BYTES, LocalArray, count_bytes, record, view

ARRAYS = {
    "matrix": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32),
    "columns first": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "scalar": np.array(3.5),
    "empty": np.zeros((2, 0, 5), np.int64),
    "flags": np.array([True, False]),
    "complex": np.array([1 + 2j], np.complex64),
    "large": np.random.default_rng(1).standard_normal(SMALL_BYTES // 8 + 1),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_it_is_the_array_that_flower_would_have_made(name: str) -> None:
    ours, flowers = record({name: ARRAYS[name]}), ArrayRecord({name: Array(np.array(ARRAYS[name], order="C"))})
    array, expected = ours[name], flowers[name]
    assert (array.dtype, array.shape, array.stype) == (expected.dtype, expected.shape, expected.stype)
    assert array.data == expected.data
    assert array.object_id == expected.object_id
    assert count_bytes(ours) == count_bytes(flowers) == flowers.count_bytes()


@pytest.mark.parametrize("name", ARRAYS)
def test_it_comes_through_a_superlink_as_a_plain_array(name: str) -> None:
    array = record(ARRAYS)[name]
    arrived = Array.inflate(array.deflate(), array.children)
    assert type(arrived) is Array
    assert np.array_equal(arrived.numpy(), ARRAYS[name])


@pytest.mark.parametrize("name", ARRAYS)
def test_it_comes_into_another_process_as_it_is(name: str) -> None:
    arrived = pickle.loads(pickle.dumps(record(ARRAYS), protocol=5))[name]
    assert isinstance(arrived, LocalArray)
    assert (arrived.dtype, arrived.shape) == (str(ARRAYS[name].dtype), ARRAYS[name].shape)
    assert np.array_equal(view(arrived), ARRAYS[name])


def test_a_record_keeps_copies() -> None:
    mine = np.ones(3)
    kept = record({"x": mine})
    mine[:] = 7
    assert kept["x"].numpy().tolist() == [1, 1, 1]


def test_what_numpy_returns_may_be_changed_and_what_view_returns_may_not() -> None:
    array = record({"x": np.ones(3)})["x"]
    array.numpy()[:] = 7
    assert view(array).tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        view(array)[0] = 7
    with pytest.raises(ValueError, match="read-only"):
        view(Array(np.ones(3)))[0] = 7
