"""Which of a client's training images are held out, against counts by hand."""

import re
from typing import Any

import numpy as np
import pytest

from semfed import seeding
from semfed.data.validation import held_out
from semfed.errors import DataError


def split(counts: list[int], asked: float, seed: int = 0) -> tuple[Any, Any, Any]:
    """Return the labels of a client's images, and the rows that it trains on and is validated on."""
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = 10 + 3 * np.arange(len(labels))
    training, validation = held_out(rows, labels, asked, seeding.numpy_generator(seed, "validation", 0), client="c")
    assert sorted([*training, *validation]) == list(rows)
    assert list(training) == sorted(training)
    assert list(validation) == sorted(validation)
    return labels[(training - 10) // 3], labels[(validation - 10) // 3], validation


@pytest.mark.parametrize(
    ("counts", "asked", "expected"),
    [
        ([50, 30, 20], 0.2, [10, 6, 4]),
        ([50, 30, 20], 10, [5, 3, 2]),
        ([7, 3], 3, [2, 1]),  # 2.1 and 0.9: the larger remainder is rounded up
        ([90, 9, 1], 0.1, [9, 1, 0]),  # 9, 0.9 and 0.1
        ([1, 1, 8], 7, [0, 0, 7]),  # 0.7, 0.7 and 5.6, but the only image of a class stays
        ([10], 0.25, [2]),  # Python rounds 2.5 to 2
    ],
)
def test_every_class_gives_in_proportion_and_keeps_an_image(counts: list[int], asked: float, expected: Any) -> None:
    left, held, _ = split(counts, asked)
    assert np.bincount(held, minlength=len(counts)).tolist() == expected
    assert np.bincount(left, minlength=len(counts)).tolist() == [c - e for c, e in zip(counts, expected, strict=True)]


def test_ties_are_drawn_and_so_are_the_images() -> None:
    tied = {tuple(np.bincount(split([5, 5], 1, seed)[1], minlength=2)) for seed in range(20)}
    assert tied == {(1, 0), (0, 1)}
    assert len({tuple(split([20, 20], 0.2, seed)[2]) for seed in range(10)}) == 10
    assert list(split([20, 20], 0.2, 3)[2]) == list(split([20, 20], 0.2, 3)[2])


@pytest.mark.parametrize(
    ("counts", "asked", "said"),
    [
        ([3, 3], 0.05, "data.validation = 0.05 of the 6 images of client 'c' is none: raise it"),
        ([3, 3], 5, "data.validation = 5 takes 5 of the 6 images of client 'c', who has 2 classes"),
        ([1, 1], 0.5, "takes 1 of the 2 images"),
    ],
)
def test_what_cannot_be_held_out_is_refused(counts: list[int], asked: float, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)) as told:
        split(counts, asked)
    assert "\n" not in str(told.value)
