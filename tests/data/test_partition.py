from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semfed.data.partitions import deal
from semfed.errors import DataError
from semfed.scenario import plugins

CLASSES = tuple("abcd")
LABELS = np.repeat(np.arange(4), 100)


def split(rule: dict[str, Any], clients: int = 3, seed: int = 0) -> list[np.ndarray]:
    return deal(plugins.parse("partitions", rule), LABELS, CLASSES, clients, np.random.default_rng(seed))


RULES = st.one_of(
    st.just({"name": "iid"}),
    st.integers(1, 20).map(lambda n: {"name": "iid", "per_client": n}),
    st.floats(0.2, 50).map(lambda a: {"name": "dirichlet", "alpha": a}),
    st.integers(1, 4).map(lambda m: {"name": "ways-shots", "m": m, "q": 5}),
)


@settings(deadline=None)
@given(RULES, st.integers(1, 10), st.integers(0, 5))
def test_parts_are_disjoint_valid_and_seeded(rule: dict[str, Any], clients: int, seed: int) -> None:
    parts = split(rule, clients, seed)
    rows = np.concatenate(parts)
    assert len(parts) == clients
    assert len(np.unique(rows)) == len(rows)
    assert rows.min() >= 0
    assert rows.max() < len(LABELS)
    assert min(len(part) for part in parts) >= 1
    for part, again in zip(parts, split(rule, clients, seed), strict=True):
        assert np.array_equal(part, again)
    if rule["name"] == "dirichlet" or rule == {"name": "iid"}:
        assert len(rows) == len(LABELS)


def test_counts_are_met_exactly() -> None:
    table = [[10, 0, 5, 0], [0, 100, 0, 1], [90, 0, 0, 99]]
    parts = split({"name": "counts", "counts": table})
    assert [np.bincount(LABELS[part], minlength=4).tolist() for part in parts] == table


def test_ways_and_shots_are_met_exactly() -> None:
    for part in split({"name": "ways-shots", "m": 2, "q": 7}):
        assert sorted(np.bincount(LABELS[part], minlength=4).tolist()) == [0, 0, 7, 7]


def test_small_alpha_is_skewed_and_large_alpha_is_not() -> None:
    def skew(alpha: float) -> float:
        shares = np.array(
            [np.bincount(LABELS[p], minlength=4) for p in split({"name": "dirichlet", "alpha": alpha}, 4)]
        )
        return float((shares / shares.sum(0)).std())

    assert skew(0.3) > 4 * skew(100.0)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            {"name": "counts", "counts": [[101, 0, 0, 0], [0] * 4, [0] * 4]},
            "101 images of class 'a', but there are 100",
        ),
        ({"name": "counts", "counts": [[1] * 5] * 3}, "rows of 5 counts, but the data set has 4 classes"),
        ({"name": "iid", "per_client": 200}, "per_client = 200 asks for 600 images"),
        ({"name": "ways-shots", "m": 5, "q": 1}, "m = 5, but the data set has 4 classes"),
        ({"name": "ways-shots", "m": 4, "q": 50}, "too few for all the clients"),
        ({"name": "dirichlet", "alpha": 0.1, "min_samples": 200}, "min_samples = 200 for 3 clients"),
        ({"name": "dirichlet", "alpha": 0.001, "min_samples": 133}, "raise alpha or lower min_samples"),
    ],
)
def test_more_than_there_is_gets_refused(rule: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        split(rule)
