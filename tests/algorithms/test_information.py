import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as scipy_entropy

from semfed.algorithms import information

SATELLITES = [
    {"other": 4634 / 5634, "2": 1000 / 5634},
    {"other": 1000 / 5631, "1": 2552 / 5631, "2": 2079 / 5631},
    {"other": 3374 / 5374, "6": 2000 / 5374},
]
RESTS = ["other"] * 3


def pmfs(size: int) -> st.SearchStrategy[np.ndarray]:
    weights = st.lists(st.integers(0, 1000), min_size=size, max_size=size).filter(any)
    return weights.map(lambda w: np.array(w) / sum(w))


@given(pmfs(5), pmfs(5))
def test_divergences_agree_with_scipy(p: np.ndarray, q: np.ndarray) -> None:
    assert information.entropy(p) == pytest.approx(scipy_entropy(p, base=2), abs=1e-9)
    assert information.js_divergence(p, q) == pytest.approx(np.nan_to_num(jensenshannon(p, q, base=2)) ** 2, abs=1e-7)
    kl = information.kl_divergence(p, q)
    assert kl == pytest.approx(scipy_entropy(p, q, base=2), abs=1e-9) or math.isinf(kl)


@given(pmfs(4), pmfs(4))
def test_jensen_shannon_is_symmetric_bounded_and_zero_for_equals(p: np.ndarray, q: np.ndarray) -> None:
    value = information.js_divergence(p, q)
    assert value == pytest.approx(information.js_divergence(q, p), abs=1e-12)
    assert 0 <= value <= 1
    assert information.js_divergence(p, p) == pytest.approx(0, abs=1e-12)


def test_nats_are_bits_times_log_2() -> None:
    p, q = [0.2, 0.8], [0.6, 0.4]
    for measure in (information.js_divergence, information.kl_divergence):
        assert measure(p, q, base=math.e) == pytest.approx(measure(p, q) * math.log(2))


@pytest.mark.parametrize("bad", [[0.5, 0.6], [-0.1, 1.1], [], [[1.0]]])
def test_only_distributions_are_taken(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="probability vector"):
        information.entropy(bad)


def test_alphabets_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="alphabets of 2 and 3"):
        information.js_divergence([0.5, 0.5], [0.2, 0.3, 0.5])


@pytest.mark.parametrize(
    ("alphabet", "s12", "s13", "s23", "gamma", "found"),
    [
        ("label-index", 0.607775, 0.965133, 0.716298, 0.786454, [[0, 2], [1]]),
        ("complement", 0.248579, 0.0, 0.0, 0.124290, [[0, 1], [2]]),
        ("named", 0.646936, 0.0, 0.0, 0.323468, [[0, 1], [2]]),
    ],
)
def test_the_alphabet_decides_the_clusters(
    alphabet: information.Alphabet, s12: float, s13: float, s23: float, gamma: float, found: list[list[int]]
) -> None:
    matrix = information.similarity_matrix(information.on_common_alphabet(SATELLITES, RESTS, alphabet))
    assert [matrix[0, 1], matrix[0, 2], matrix[1, 2]] == pytest.approx([s12, s13, s23], abs=1e-6)
    threshold = information.midpoint_threshold(matrix)
    assert threshold == pytest.approx(gamma, abs=1e-6)
    assert information.clusters(matrix, threshold) == found


def test_ten_way_second_task() -> None:
    counts = [0, 2552, 2079, 500, 0, 0, 500, 0, 0, 0]
    ten_way = {str(digit): count / 5631 for digit, count in enumerate(counts)}
    common = information.on_common_alphabet([SATELLITES[0], ten_way, SATELLITES[2]], ["other", None, "other"], "named")
    matrix = information.similarity_matrix(common)
    gamma = information.midpoint_threshold(matrix)
    assert [matrix[0, 1], matrix[0, 2], matrix[1, 2], gamma] == pytest.approx(
        [0.575725, 0, 0.221911, 0.287862], abs=1e-6
    )
    assert information.clusters(matrix, gamma) == [[0, 1], [2]]


def test_exact_check_of_the_spec() -> None:
    matrix = information.similarity_matrix([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]])
    assert [matrix[0, 1], matrix[0, 2], matrix[1, 2]] == pytest.approx([1, 0.688722, 0.688722], abs=1e-6)
    gamma = information.midpoint_threshold(matrix)
    assert gamma == pytest.approx(0.844361, abs=1e-6)
    assert information.clusters(matrix, gamma) == [[0, 1], [2]]


def test_similarity_zero_relates_nothing_even_at_threshold_zero() -> None:
    matrix = np.eye(3)
    assert information.clusters(matrix, 0.0) == [[0], [1], [2]]


def test_equal_positive_similarities_make_one_cluster() -> None:
    matrix = np.full((4, 4), 0.3)
    np.fill_diagonal(matrix, 1.0)
    assert information.clusters(matrix, information.midpoint_threshold(matrix)) == [[0, 1, 2, 3]]


def test_two_tasks_have_no_midpoint() -> None:
    with pytest.raises(ValueError, match="give a threshold"):
        information.midpoint_threshold([[1.0, 0.5], [0.5, 1.0]])


def test_a_chain_of_related_tasks_is_one_cluster() -> None:
    matrix = np.array([[1, 0.9, 0.1], [0.9, 1, 0.9], [0.1, 0.9, 1]])
    assert information.clusters(matrix, 0.5) == [[0, 1, 2]]
    assert not information.relation(matrix, 0.5)[0, 2]
    assert information.transitive_closure(information.relation(matrix, 0.5)).all()


@given(st.integers(2, 6).flatmap(lambda n: st.lists(st.floats(0, 1), min_size=n * n, max_size=n * n)), st.floats(0, 1))
def test_clusters_are_a_partition(entries: list[float], threshold: float) -> None:
    size = math.isqrt(len(entries))
    matrix = np.array(entries).reshape(size, size)
    matrix = (matrix + matrix.T) / 2
    found = information.clusters(matrix, threshold)
    assert sorted(member for cluster in found for member in cluster) == list(range(size))


def test_a_task_without_its_named_values_is_refused() -> None:
    with pytest.raises(ValueError, match="task 0 has no sample of its named values"):
        information.on_common_alphabet([{"other": 1.0, "2": 0.0}], ["other"], "named")


def test_empirical_pmf_counts() -> None:
    assert information.empirical_pmf([1, 1, 0, 3], 4).tolist() == [0.25, 0.5, 0, 0.25]
    with pytest.raises(ValueError, match="at least one label"):
        information.empirical_pmf([], 2)
