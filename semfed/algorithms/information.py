"""Entropy and divergences of discrete distributions, and the clusters of tasks that they suggest.

All functions take probability vectors of dtype float64 and are exact up to rounding. Source: "Semantic-Aware Task
Clustering for Federated Cooperative Multi-Task Semantic Communication" (arXiv 2601.17419), eqs. (6)-(8) and
section III-C.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components
from scipy.special import rel_entr

Vector = npt.NDArray[np.float64]
Alphabet = Literal["named", "complement", "label-index"]

EDGE_FLOOR = 1e-12
"""A similarity at or below this is no similarity, whatever the threshold: rounding must not join clusters."""


def _distribution(p: npt.ArrayLike) -> Vector:
    vector = np.asarray(p, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0 or not np.all(vector >= 0) or abs(vector.sum() - 1) > 1e-9:
        raise ValueError(f"not a probability vector (non-negative, sum 1): {vector.tolist()}")
    return vector


def entropy(p: npt.ArrayLike, *, base: float = 2.0) -> float:
    """Shannon entropy of a distribution.

    Parameters
    ----------
    p : array_like, shape (symbols,)
        Probabilities.
    base : float, default 2
        2 for bits, ``math.e`` for nats.

    Raises
    ------
    ValueError
        If `p` is not a probability vector.

    Examples
    --------
    >>> entropy([0.5, 0.25, 0.25])
    1.5
    """
    vector = _distribution(p)
    positive = vector[vector > 0]
    return float(-(positive * np.log(positive)).sum() / np.log(base)) + 0.0


def kl_divergence(p: npt.ArrayLike, q: npt.ArrayLike, *, base: float = 2.0) -> float:
    """Kullback-Leibler divergence D(p || q); infinite where q misses a symbol that p has.

    Parameters
    ----------
    p, q : array_like, shape (symbols,)
        Probabilities on one alphabet.
    base : float, default 2
        2 for bits, ``math.e`` for nats.

    Raises
    ------
    ValueError
        If one is not a probability vector, or if their alphabets differ in size.

    Examples
    --------
    >>> kl_divergence([1.0, 0.0], [0.5, 0.5])
    1.0
    """
    a, b = _distribution(p), _distribution(q)
    if a.shape != b.shape:
        raise ValueError(f"alphabets of {a.size} and {b.size} symbols: bring both to one alphabet first")
    return float(rel_entr(a, b).sum() / np.log(base))


def js_divergence(p: npt.ArrayLike, q: npt.ArrayLike, *, base: float = 2.0) -> float:
    """Jensen-Shannon divergence, eq. (6): half of D(p || m) plus half of D(q || m), with m the mean of p and q.

    In bits it lies in [0, 1]. Parameters and errors as for `kl_divergence`.

    Examples
    --------
    >>> js_divergence([1.0, 0.0], [0.0, 1.0])
    1.0
    """
    a, b = _distribution(p), _distribution(q)
    if a.shape != b.shape:
        raise ValueError(f"alphabets of {a.size} and {b.size} symbols: bring both to one alphabet first")
    middle = (a + b) / 2
    value = (rel_entr(a, middle).sum() + rel_entr(b, middle).sum()) / (2 * np.log(base))
    return float(np.clip(value, 0.0, np.log(2) / np.log(base)))


def empirical_pmf(labels: npt.ArrayLike, symbols: int) -> Vector:
    """Relative frequency of the symbols 0 .. symbols - 1, eq. (7).

    Parameters
    ----------
    labels : array_like of int, shape (samples,)
        Observed symbols, at least one.
    symbols : int
        Size of the alphabet.

    Examples
    --------
    >>> empirical_pmf([0, 2, 2, 0], 3).tolist()
    [0.5, 0.0, 0.5]
    """
    observed = np.asarray(labels, dtype=np.int64)
    if observed.size == 0 or observed.min() < 0 or observed.max() >= symbols:
        raise ValueError(f"need at least one label, all of them in 0 .. {symbols - 1}")
    return np.bincount(observed, minlength=symbols) / observed.size


def on_common_alphabet(
    pmfs: Sequence[Mapping[str, float]], rests: Sequence[str | None], alphabet: Alphabet = "named"
) -> Vector:
    """Bring the pmfs of different semantic variables to one alphabet, so that they can be compared.

    Parameters
    ----------
    pmfs : sequence of mappings, one per task
        Probability of each value by name; the named values in the task's own order.
    rests : sequence of str or None
        The name of each task's complement ("anything else"), None where it has none.
    alphabet : {"named", "complement", "label-index"}
        ``named`` compares what tasks name and leaves their complements out (renormalised); ``complement`` adds one
        symbol per task for its complement; ``label-index`` compares label numbers, complement first and padded with
        zeros. The last is the naive reading: it takes "not 2" and "not 6" for the same symbol.

    Returns
    -------
    ndarray, shape (tasks, symbols), float64
        One distribution a row.

    Raises
    ------
    ValueError
        If a task has no probability on its named values.
    """
    if alphabet == "label-index":
        rows = []
        for pmf, rest in zip(pmfs, rests, strict=True):
            named = [value for name, value in pmf.items() if name != rest]
            rows.append(named if rest is None else [pmf.get(rest, 0.0), *named])
        width = max(len(row) for row in rows)
        return np.array([row + [0.0] * (width - len(row)) for row in rows])

    symbols: dict[object, int] = {}
    entries: list[dict[object, float]] = []
    for task, (pmf, rest) in enumerate(zip(pmfs, rests, strict=True)):
        row: dict[object, float] = {name: value for name, value in pmf.items() if name != rest}
        total = sum(row.values())
        if total <= 0:
            raise ValueError(f"task {task} has no sample of its named values {list(row)}")
        if alphabet == "named":
            row = {name: value / total for name, value in row.items()}
        elif rest is not None:
            row[("rest of", task)] = pmf.get(rest, 0.0)
        for symbol in row:
            symbols.setdefault(symbol, len(symbols))
        entries.append(row)
    table = np.zeros((len(entries), len(symbols)))
    for task, row in enumerate(entries):
        for symbol, value in row.items():
            table[task, symbols[symbol]] = value
    return table


def similarity_matrix(distributions: npt.ArrayLike) -> Vector:
    """Semantic similarity S_kj = 1 - JS_2(p_k, p_j), eq. (8).

    Parameters
    ----------
    distributions : array_like, shape (tasks, symbols)
        One distribution a row, on one alphabet.

    Returns
    -------
    ndarray, shape (tasks, tasks), float64
        Symmetric, in [0, 1], with ones on the diagonal.

    Examples
    --------
    >>> similarity_matrix([[0.5, 0.5], [1.0, 0.0]]).round(6).tolist()
    [[1.0, 0.688722], [0.688722, 1.0]]
    """
    rows = np.asarray(distributions, dtype=np.float64)
    count = len(rows)
    matrix = np.eye(count)
    for k in range(count):
        for j in range(k):
            matrix[k, j] = matrix[j, k] = 1.0 - js_divergence(rows[k], rows[j])
    return matrix


def midpoint_threshold(similarity: npt.ArrayLike) -> float:
    """Return gamma = (min + max)/2 over the off-diagonal similarities, section IV.

    Raises
    ------
    ValueError
        With fewer than three tasks, where the midpoint is the one similarity itself and says nothing.
    """
    matrix = np.asarray(similarity, dtype=np.float64)
    if len(matrix) < 3:
        raise ValueError(f"the midpoint of {len(matrix)} tasks' similarities is degenerate: give a threshold")
    off_diagonal = matrix[~np.eye(len(matrix), dtype=bool)]
    return float((off_diagonal.min() + off_diagonal.max()) / 2)


def relation(similarity: npt.ArrayLike, threshold: float) -> npt.NDArray[np.bool_]:
    """Return which tasks are directly related, R = [S >= threshold], each task to itself.

    A similarity of (almost) zero relates nothing, even at threshold 0; see `EDGE_FLOOR`.
    """
    matrix = np.asarray(similarity, dtype=np.float64)
    return ((matrix >= threshold) & (matrix > EDGE_FLOOR)) | np.eye(len(matrix), dtype=bool)


def transitive_closure(related: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Relate all tasks that a chain of related tasks joins, so that clusters cannot overlap (section III-C)."""
    _, component = connected_components(np.asarray(related, dtype=bool), directed=False)
    return np.asarray(component[:, None] == component[None, :])


def clusters(similarity: npt.ArrayLike, threshold: float) -> list[list[int]]:
    """Return the connected components of the thresholded similarity graph.

    Returns
    -------
    list of list of int
        Disjoint clusters of task indices that cover all tasks, ordered by their first member.

    Examples
    --------
    >>> clusters([[1.0, 0.9, 0.1], [0.9, 1.0, 0.0], [0.1, 0.0, 1.0]], 0.5)
    [[0, 1], [2]]
    """
    closure = transitive_closure(relation(similarity, threshold))
    return [list(members) for members in dict.fromkeys(tuple(np.flatnonzero(row).tolist()) for row in closure)]
