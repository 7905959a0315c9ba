"""Intervals and paired differences against hand computation and SciPy's tests."""

import numpy as np
import pytest
from scipy import stats

from semfed.runs.statistics import interval, paired, spread


def test_interval_by_hand() -> None:
    """1, 2, 3, 4: mean 2.5, s = sqrt(5/3), t(3) = 3.182446."""
    half = 3.182446305284263 * (5 / 3) ** 0.5 / 2
    assert interval([1.0, 2.0, 3.0, 4.0]) == pytest.approx([2.5 - half, 2.5 + half], rel=1e-12)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_interval_is_that_of_a_one_sample_t_test(confidence: float) -> None:
    numbers = np.random.default_rng(0).normal(3, 2, 7)
    expected = stats.ttest_1samp(numbers, 0).confidence_interval(confidence)
    assert interval(list(numbers), confidence) == pytest.approx([expected.low, expected.high], rel=1e-12)


def test_one_seed_has_no_interval() -> None:
    assert spread({3: 0.5}) == {"mean": 0.5, "sd": None, "ci95": None, "values": {"3": 0.5}}


def test_paired_differences_are_those_of_the_paired_t_test() -> None:
    random = np.random.default_rng(1)
    reference = random.normal(0, 5, 10)
    ours = reference + random.normal(0.5, 1, 10)
    found = paired(dict(enumerate(ours)), dict(enumerate(reference)))
    assert found is not None
    expected = stats.ttest_rel(ours, reference).confidence_interval(0.95)
    assert found["ci95"] == pytest.approx([expected.low, expected.high], rel=1e-12)
    assert found["mean"] == pytest.approx((ours - reference).mean(), rel=1e-12)
    assert found["sd"] == pytest.approx((ours - reference).std(ddof=1), rel=1e-12)
    assert found["positive"] == (ours > reference).sum()


def test_only_common_seeds_are_paired() -> None:
    found = paired({0: 1.0, 1: 5.0, 2: 4.0}, {1: 2.0, 2: 3.0, 7: 0.0})
    assert found is not None
    assert found["values"] == {"1": 3.0, "2": 1.0}
    assert found["mean"] == 2.0
    assert paired({0: 1.0}, {1: 1.0}) is None
