import functools
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semfed.errors import FederationError
from semfed.flower.averaging import Average, boundary


def average(updates: list[dict[str, np.ndarray]], weights: list[float]) -> dict[str, np.ndarray]:
    taken = Average(len(updates))
    for place, (update, weight) in enumerate(zip(updates, weights, strict=True)):
        taken.add(update, weight, place)
    return taken.mean()


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5))
def test_means_are_weighted(weights: list[float]) -> None:
    updates = [{"w": np.full(3, float(k), np.float64)} for k in range(len(weights))]
    expected = np.average(np.arange(len(weights)), weights=weights)
    assert average(updates, weights)["w"] == pytest.approx(expected, abs=1e-12)


def test_a_mean_of_one_is_that_one_bit_for_bit() -> None:
    update = {"w": np.random.default_rng(0).standard_normal(1000).astype(np.float32)}
    assert average([update], [0.3])["w"].tobytes() == update["w"].tobytes()


def test_equal_weights_are_all_the_same_to_the_mean() -> None:
    updates = [{"w": np.random.default_rng(k).standard_normal(100).astype(np.float32)} for k in range(5)]
    assert average(updates, [60.0] * 5)["w"].tobytes() == average(updates, [1.0] * 5)["w"].tobytes()


def test_integer_buffers_stay_integers() -> None:
    mean = average([{"n": np.array([1])}, {"n": np.array([2])}, {"n": np.array([2])}], [1, 1, 1])
    assert mean["n"].dtype == np.int64
    assert mean["n"].tolist() == [2]


def test_a_mean_of_nothing_is_nothing() -> None:
    assert Average(3).mean() == {}


@pytest.mark.parametrize("weights", [[0, 1, 3], [1, 0, 3], [0, 0, 2]])
def test_who_weighs_nothing_changes_nothing(weights: list[float]) -> None:
    updates = [{"w": np.array([float(k), -k])} for k in range(3)]
    expected = np.average([update["w"] for update in updates], axis=0, weights=weights)
    assert average(updates, weights)["w"] == pytest.approx(expected, abs=1e-12)


def test_there_is_no_mean_if_nobody_weighs_anything() -> None:
    with pytest.raises(FederationError, match="num-examples = 0"):
        average([{"w": np.ones(2)}], [0.0])


def test_sums_of_many_differ_from_sums_in_a_row_by_rounding_only() -> None:
    updates = [{"w": np.random.default_rng(k).standard_normal(50).astype(np.float32)} for k in range(700)]
    weights = np.random.default_rng(1).integers(1, 100, 700).astype(float).tolist()
    expected = np.average([update["w"] for update in updates], axis=0, weights=weights)
    assert np.allclose(average(updates, weights)["w"], expected, rtol=1e-6, atol=1e-8)


def test_a_tree_of_halves_is_summed() -> None:
    values = np.array([1e16, *[1.0] * 19])  # 1 is lost in 1e16, sums of ones are not
    halves = [values[:5].tolist(), values[5:10].tolist(), values[10:15].tolist(), values[15:].tolist()]
    first, second, third, fourth = (functools.reduce(operator.add, group) for group in halves)
    expected = ((first + second) + (third + fourth)) / 20
    assert average([{"w": np.array([value])} for value in values], [1.0] * 20)["w"].tolist() == [expected]


@pytest.mark.parametrize(("low", "high", "end"), [(0, 50, 50), (0, 49, 25), (26, 60, 50), (50, 99, 75), (51, 56, 56)])
def test_the_largest_half_that_ends_between_two_places(low: int, high: int, end: int) -> None:
    assert boundary(100, low, high) == end


def test_where_no_half_ends_there_is_the_latest_place() -> None:
    assert (boundary(100, 1, 5), boundary(100, 3, 100), boundary(8, 2, 4)) == (5, 100, 4)
