"""What it takes to reach a value, by hand: who never does is not left out."""

import math

import pytest

from semfed.events.metrics import Metric
from semfed.runs.reaching import first, reach, target_of

ACCURACY = Metric("accuracy", better="higher", fraction=True)
TOLD = {
    "accuracy/average": {
        0: {1: 0.5, 2: 0.8, 3: 0.7},
        1: {1: 0.5, 2: 0.6, 3: 0.8},
        2: {1: 0.5, 2: 0.6, 3: 0.7},
    },
    "cost/bytes_up": {seed: {0: 1.0, 1: 10.0, 2: 10.0, 3: 10.0} for seed in range(3)},
    "cost/bytes_down": {seed: {1: 100.0, 2: 100.0, 3: 100.0} for seed in range(3)},
    "cost/channel_uses": {seed: {1: 5.0 + seed, 2: 5.0, 3: 5.0} for seed in range(3)},
}


def test_rounds_bytes_and_uses_up_to_the_first_test_that_is_good_enough() -> None:
    found = reach(TOLD, ACCURACY, "accuracy/average", 0.8)
    assert (found["n"], found["reached"]) == (3, 2)
    assert found["rounds"] == {"median": 3, "values": {"0": 2, "1": 3, "2": math.inf}}
    assert found["bytes"]["values"] == {"0": 1 + 2 * 110, "1": 1 + 3 * 110, "2": math.inf}
    assert found["channel_uses"]["values"] == {"0": 10.0, "1": 16.0, "2": math.inf}
    assert found["bytes"]["median"] == 331


def test_the_median_is_infinite_unless_most_seeds_reach_it() -> None:
    """Of four seeds two never do: the mean of the others would be 2 rounds."""
    told = {"accuracy/average": {**TOLD["accuracy/average"], 3: {1: 0.1}}}
    found = reach(told, ACCURACY, "accuracy/average", 0.8)
    assert (found["n"], found["reached"], found["rounds"]["median"]) == (4, 2, math.inf)
    assert "bytes" not in found, "nothing was counted"
    never = reach(TOLD, ACCURACY, "accuracy/average", 0.99)
    assert (never["reached"], never["rounds"]["median"], never["bytes"]["median"]) == (0, math.inf, math.inf)


def test_of_an_error_lower_is_better() -> None:
    error = Metric("error", better="lower")
    assert first({1: 0.5, 4: 0.2, 7: 0.1}, error, 0.2) == 4
    assert first({1: 0.5, 4: math.nan}, error, 0.2) == math.inf
    assert target_of(0.19, error, 0.95) == pytest.approx(0.2)


def test_a_share_of_nothing_is_no_target() -> None:
    assert target_of(0.0, ACCURACY, 0.9) is None
    assert target_of(math.nan, ACCURACY, 0.9) is None
    assert target_of(-3.0, Metric("psnr", better="higher"), 0.9) is None
    assert target_of(0.5, Metric("plain"), 0.9) is None
    assert target_of(0.8, ACCURACY, 0.5) == 0.4
