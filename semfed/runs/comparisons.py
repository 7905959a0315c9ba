"""Which arm is the best, and which cannot be told from it: all arms against one, paired by seed."""

from collections.abc import Iterable, Mapping
from typing import Any

from semfed.events.metrics import Metric
from semfed.runs.statistics import CONFIDENCE, EQUAL, holm, mean_of, paired, resolved, signed_rank_test, t_test
from semfed.scenario import Point

TESTS = {"t": t_test, "wilcoxon": signed_rank_test}
"""Of paired differences, by their keys in a comparison."""
BEST, NAMED = "best", "named"


def compare(
    arms: Mapping[str, Mapping[int, float]], metric: Metric, *, reference: str | None = None
) -> dict[str, Any] | None:
    """Compare all arms with the best one, or with one that was named before.

    The best arm is chosen by the seeds that it is then tested with, which favours it. So p-values against it are
    corrected for all k (k - 1) / 2 pairs of k arms, whichever of them it turns out to be; those against a named
    reference for k - 1 comparisons.

    Parameters
    ----------
    arms : mapping of str to mapping of int to float
        Arm -> seed -> value.
    metric : Metric
        Of which these are values.
    reference : str, optional
        An arm; the best one by default.

    Returns
    -------
    dict or None
        ``reference``, and ``chosen``, which is ``best`` or ``named``; ``family``, in words, and ``comparisons``, their
        number; ``arms``, where every other arm has `paired` differences to the reference, if there is a common seed,
        ``n``, the number of common seeds, ``missing``, the seeds that one of both lacks, and for ``t`` and ``wilcoxon``
        each ``p``, ``holm``, which is p corrected for the family, and ``reason``, which says why where there is none;
        ``indistinguishable``, the arms that are equal to the reference in all seeds or whose corrected t-test does not
        reach 5 %; ``untested``, those that nothing can be said of.

        None without arms to compare, or without direction and reference.

    Raises
    ------
    KeyError
        If the reference is none of the arms.
    """
    against = reference or metric.best({arm: mean_of(list(values.values())) for arm, values in arms.items() if values})
    others = [arm for arm in arms if arm != against]
    if against is None or not others:
        return None
    if reference is None:
        count = len(arms) * len(others) // 2
        family = f"all {count} pairs of {len(arms)} arms, since the best is chosen by the same seeds"
    else:
        count, family = len(others), f"{len(others)} comparisons with '{reference}'"
    if count == 1:
        family = "one comparison"
    seeds = set[int]().union(*arms.values())
    told: dict[str, dict[str, Any]] = {}
    for arm in others:
        common = arms[arm].keys() & arms[against].keys()
        told[arm] = {
            **(paired(arms[arm], arms[against]) or {}),
            "n": len(common),
            "missing": sorted(seeds - common),
        }
    for name, test in TESTS.items():
        results = [test(resolved(arms[arm], arms[against])) for arm in others]
        for arm, result, adjusted in zip(others, results, holm([r.p for r in results], count), strict=True):
            told[arm][name] = {"p": result.p, "holm": adjusted, "reason": result.reason}
    return {
        "reference": against,
        "chosen": BEST if reference is None else NAMED,
        "family": family,
        "comparisons": count,
        "indistinguishable": [arm for arm in others if _cannot_be_told(told[arm]["t"])],
        "untested": [arm for arm in others if told[arm]["t"]["reason"] not in (None, EQUAL)],
        "arms": told,
    }


def _cannot_be_told(test: Mapping[str, Any]) -> bool:
    return test["reason"] == EQUAL or (test["holm"] is not None and test["holm"] >= 1 - CONFIDENCE)


def groups(arms: Iterable[str], points: Mapping[str, Point]) -> list[tuple[dict[str, Any], list[str]]]:
    """Return the arms that are compared with each other: those of one point of a sweep.

    A sweep of a single arm compares its points instead.

    Parameters
    ----------
    arms : iterable of str
    points : mapping of str to Point
        What the arms of a sweep are.

    Returns
    -------
    list of (dict, list of str)
        The value that the arms of a group have of every swept setting, and their names, in order.
    """
    found: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for arm in arms:
        values = dict(points[arm].values) if arm in points else {}
        found.setdefault(repr(values), (values, []))[1].append(arm)
    alone = len(found) > 1 and all(len(names) == 1 for _, names in found.values())
    return [({}, [arm for _, names in found.values() for arm in names])] if alone else list(found.values())


def compared(
    arms: Mapping[str, Any],
    points: Mapping[str, Point],
    metric: Metric,
    name: str,
    *,
    reference: str | None = None,
) -> list[dict[str, Any]]:
    """Compare the arms of every point of a sweep, of all at once without one; see `compare`.

    Parameters
    ----------
    arms : mapping
        Of a summary.
    points : mapping of str to Point
        What the arms of a sweep are.
    metric : Metric
    name : str
        As it is recorded; arms without it are left out.
    reference : str, optional
        An arm, with or without a sweep's values; the best one by default.

    Returns
    -------
    list of dict
        What `compare` tells, and ``point``, the value of every swept setting; what has nothing to compare, or not the
        reference, is left out.
    """
    each = []
    for point, together in groups(arms, points):
        told = {arm: _by_seed(arms[arm]["final"][name]) for arm in together if name in arms[arm]["final"]}
        here = [arm for arm in told if reference in (arm, points[arm].arm if arm in points else None)]
        if reference is None or here:
            comparison = compare(told, metric, reference=here[0] if reference is not None else None)
            each += [] if comparison is None else [{"point": point, **comparison}]
    return each


def _by_seed(entry: Mapping[str, Any]) -> dict[int, float]:
    return {int(seed): value for seed, value in entry["values"].items()}
