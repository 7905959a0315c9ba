"""Intervals and paired differences against hand computation and SciPy's tests."""

import itertools
import random
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from semfed.runs.statistics import EXACT, holm, interval, paired, resolved, signed_rank_test, spread, t_test


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


@pytest.mark.parametrize("seed", range(20))
def test_p_values_are_those_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count = int(generator.integers(2, 80))
    differences = generator.normal(0.4, 1, count)
    assert t_test(list(differences)).p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=1e-9)
    method = "exact" if count <= EXACT else "asymptotic"
    expected = stats.wilcoxon(differences, method=method).pvalue
    assert signed_rank_test(list(differences)).p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "differences", [[1, 1, 2, -1, 3, 0], [1, 1, 1, 1, 1], [-2, 2], [0.5, -0.5, 0.5, 1, 0, 0], [3, 3, -3, 1, 2, 2, -1]]
)
def test_the_signed_rank_test_counts_all_signs_where_sizes_are_equal(differences: list[float]) -> None:
    """SciPy's ranks, and the sum of ranks of all choices of signs one by one."""
    told = [difference for difference in differences if difference]
    ranks = stats.rankdata(np.abs(told))
    sums = [sum(ranks[list(signs)]) for signs in itertools.product([False, True], repeat=len(told))]
    found, middle = sum(ranks[np.array(told) > 0]), sum(ranks) / 2
    as_far = sum(abs(other - middle) >= abs(found - middle) for other in sums)
    assert signed_rank_test(differences).p == pytest.approx(as_far / len(sums), rel=1e-12)


def test_five_seeds_of_one_sign_by_hand() -> None:
    """2 of 2^5 choices of signs are as far out."""
    assert signed_rank_test([0.1, 0.2, 0.3, 0.4, 0.5]).p == 2 / 32


@pytest.mark.parametrize(
    ("differences", "t", "wilcoxon"),
    [
        ([], "no common seed", "no common seed"),
        ([0.5], "one common seed", "one common seed"),
        ([0.0, 0.0, 0.0], "equal in all seeds", "equal in all seeds"),
        ([0.1, float("nan")], "a value is not finite", "a value is not finite"),
        ([0.1, float("inf")], "a value is not finite", "a value is not finite"),
        ([0.5, 0.5, 0.5], "the same difference in all seeds, so no spread to compare it with", None),
    ],
)
def test_where_there_is_no_p_there_is_a_reason(differences: list[float], t: str, wilcoxon: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for test, reason in ((t_test, t), (signed_rank_test, wilcoxon)):
            result = test(differences)
            assert result.reason == reason
            assert (result.p is None) == (reason is not None)


def test_rounding_makes_no_spread() -> None:
    """0.3 - 0.2 and 0.2 - 0.1 differ in floating point; a t-test of that would have p < 1e-30."""
    values, reference = {0: 0.3, 1: 0.2, 2: 0.9}, {0: 0.2, 1: 0.1, 2: 0.8}
    assert len({values[seed] - reference[seed] for seed in values}) > 1
    assert t_test(resolved(values, reference)).p is None
    assert resolved({0: 1e12 + 1}, {0: 1e12}) == [1.0]
    assert resolved({0: 3e-9}, {0: 1e-9}) == [2e-9]
    assert resolved({0: 0.0, 1: 5.0}, {0: 0.0, 2: 1.0}) == [0.0]


def test_holm_by_hand() -> None:
    """Holm (1979): 4 x 0.01, 3 x 0.02 = 0.06, 2 x 0.025 = 0.05 raised to 0.06, 0.2; in the order given."""
    assert holm([0.02, 0.2, 0.01, 0.025]) == pytest.approx([0.06, 0.2, 0.04, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([None, 0.03, None]) == [None, pytest.approx(0.09), None]
    assert holm([0.01, 0.02], family=6) == pytest.approx([0.06, 0.1])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_holm_depends_on_no_order_and_lies_between_p_and_bonferroni(ps: list[float], chance: random.Random) -> None:
    places = list(range(len(ps)))
    chance.shuffle(places)
    adjusted = holm(ps)
    assert holm([ps[place] for place in places]) == [adjusted[place] for place in places]
    assert all(p <= q <= min(1, len(ps) * p) for p, q in zip(ps, adjusted, strict=True) if q is not None)


measured = st.dictionaries(st.integers(0, 99), st.integers(0, 10_000), min_size=2, max_size=12)


@given(measured, measured, st.integers(-5_000, 5_000))
def test_tests_know_neither_the_order_of_seeds_nor_a_common_shift(
    ours: dict[int, int], theirs: dict[int, int], shift: int
) -> None:
    """Accuracies on 10,000 images; what is added to both arms cancels."""
    one, other = ({seed: count / 10_000 for seed, count in side.items()} for side in (ours, theirs))
    backwards = dict(reversed(one.items()))
    moved = [{seed: (count + shift) / 10_000 for seed, count in side.items()} for side in (ours, theirs)]
    for test in (t_test, signed_rank_test):
        result = test(resolved(one, other))
        assert test(resolved(backwards, other)) == result
        for again in (test(resolved(*moved)), test(resolved(other, one))):
            assert again.reason == result.reason
            assert again.p == pytest.approx(result.p, rel=1e-6, abs=1e-12) if result.p is not None else again.p is None
