"""Arms against the best one: SciPy's tests of the same differences, Holm's correction by hand, and what is missing."""

import numpy as np
import pytest
from scipy import stats

from semfed.events.metrics import Metric
from semfed.runs.comparisons import compare, compared, groups
from semfed.runs.statistics import spread
from semfed.scenario import Axis, Sweep

ACCURACY = Metric("accuracy", better="higher", fraction=True)
COMMON = np.array([0.71, 0.84, 0.79, 0.88, 0.75, 0.81, 0.77, 0.86])
ARMS = {
    "close": dict(enumerate(COMMON + np.array([0.01, -0.02, 0.005, -0.03, 0.025, -0.015, -0.012, -0.004]))),
    "best": dict(enumerate(COMMON)),
    "far": dict(enumerate(COMMON - np.array([0.10, 0.09, 0.12, 0.08, 0.11, 0.13, 0.07, 0.05]))),
}


def differences(arm: str, reference: str) -> np.ndarray:
    return np.array([ARMS[arm][seed] - ARMS[reference][seed] for seed in range(8)])


def test_the_best_arm_and_what_cannot_be_told_from_it() -> None:
    found = compare(ARMS, ACCURACY)
    assert found is not None
    assert (found["reference"], found["chosen"], found["comparisons"]) == ("best", "best", 3)
    assert found["family"] == "all 3 pairs of 3 arms, since the best is chosen by the same seeds"
    t = {arm: stats.ttest_rel(list(ARMS[arm].values()), list(ARMS["best"].values())) for arm in ("close", "far")}
    ranks = {arm: stats.wilcoxon(differences(arm, "best"), method="exact").pvalue for arm in ("close", "far")}
    for arm, factor in (("far", 3), ("close", 2)):
        told = found["arms"][arm]
        assert told["t"]["p"] == pytest.approx(t[arm].pvalue, rel=1e-6)
        assert told["t"]["holm"] == pytest.approx(min(1, factor * t[arm].pvalue), rel=1e-6)
        assert told["wilcoxon"]["p"] == pytest.approx(ranks[arm], rel=1e-9)
        expected = t[arm].confidence_interval(0.95)
        assert told["ci95"] == pytest.approx([expected.low, expected.high], rel=1e-9)
        assert (told["n"], told["missing"], told["positive"]) == (8, [], int((differences(arm, "best") > 0).sum()))
    assert t["close"].pvalue > 0.025 > t["far"].pvalue
    assert (found["indistinguishable"], found["untested"]) == (["close"], [])


def test_of_an_error_the_lowest_is_the_best() -> None:
    found = compare(ARMS, Metric("error", better="lower"))
    assert found is not None
    assert found["reference"] == "far"
    assert found["indistinguishable"] == []


def test_a_reference_that_is_named_is_compared_with_the_others_alone() -> None:
    found = compare(ARMS, ACCURACY, reference="far")
    assert found is not None
    assert (found["reference"], found["chosen"], found["comparisons"]) == ("far", "named", 2)
    assert found["family"] == "2 comparisons with 'far'"
    ps = sorted(told["t"]["p"] for told in found["arms"].values())
    assert sorted(told["t"]["holm"] for told in found["arms"].values()) == pytest.approx(
        [2 * ps[0], max(2 * ps[0], ps[1])]
    )


def test_equal_arms_cannot_be_told_apart_and_have_no_p() -> None:
    found = compare({"a": {0: 0.5, 1: 0.6}, "b": {0: 0.5, 1: 0.6}}, ACCURACY)
    assert found is not None
    assert (found["reference"], found["indistinguishable"], found["untested"]) == ("a", ["b"], [])
    assert found["family"] == "one comparison"
    assert found["arms"]["b"]["t"] == {"p": None, "holm": None, "reason": "equal in all seeds"}


def test_one_seed_and_missing_ones_are_told_as_such() -> None:
    found = compare({"a": {0: 0.5, 1: 0.7, 2: 0.9}, "b": {0: 0.4}, "c": {5: 0.2, 7: 0.3}, "d": {}}, ACCURACY)
    assert found is not None
    told = found["arms"]
    assert told["b"]["t"] == {"p": None, "holm": None, "reason": "one common seed"}
    assert (told["b"]["n"], told["b"]["mean"], told["b"]["ci95"]) == (1, pytest.approx(-0.1), None)
    assert told["b"]["missing"] == [1, 2, 5, 7]
    assert told["c"] == {
        "n": 0,
        "missing": [0, 1, 2, 5, 7],
        "t": {"p": None, "holm": None, "reason": "no common seed"},
        "wilcoxon": {"p": None, "holm": None, "reason": "no common seed"},
    }
    assert found["untested"] == ["b", "c", "d"]
    assert found["indistinguishable"] == []


def test_where_there_is_nothing_to_compare_there_is_no_comparison() -> None:
    assert compare({"a": {0: 0.5}}, ACCURACY) is None
    assert compare({}, ACCURACY) is None
    assert compare(ARMS, Metric("plain")) is None
    assert compare({"a": {}, "b": {}}, ACCURACY) is None


def test_arms_are_compared_at_a_point_of_a_sweep() -> None:
    points = Sweep(axes=(Axis(setting="channel.snr_db", values=(0, 5)),), arms=("a", "b")).points()
    assert groups(points, points) == [
        ({"channel.snr_db": 0}, ["a@0", "b@0"]),
        ({"channel.snr_db": 5}, ["a@5", "b@5"]),
    ]
    assert groups(["a@0", "a@5"], points) == [({}, ["a@0", "a@5"])], "one arm: its points"
    assert groups(["a", "b"], {}) == [({}, ["a", "b"])]


def test_a_reference_is_the_arm_at_the_same_point() -> None:
    points = Sweep(axes=(Axis(setting="channel.snr_db", values=(0, 5)),), arms=("a", "b")).points()
    values = {"a@0": 0.5, "b@0": 0.6, "a@5": 0.9, "b@5": 0.7}
    arms = {arm: {"final": {"m": spread({0: mean, 1: mean + 0.01})}} for arm, mean in values.items()}
    assert [group["reference"] for group in compared(arms, points, ACCURACY, "m")] == ["b@0", "a@5"]
    first, second = compared(arms, points, ACCURACY, "m", reference="a")
    assert (first["reference"], second["reference"]) == ("a@0", "a@5")
    assert second["arms"]["b@5"]["mean"] == pytest.approx(-0.2)
    assert compared(arms, points, ACCURACY, "other") == []
