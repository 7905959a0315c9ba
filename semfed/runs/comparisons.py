"""Which arm is the best, and which cannot be told from it: all arms against one, paired by seed."""

from collections.abc import Iterable, Mapping
from typing import Any

from semfed.events.metrics import Metric
from semfed.runs.statistics import CONFIDENCE, EQUAL, holm, mean_of, paired, resolved, signed_rank_test, t_test

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


def groups(arms: Iterable[str], points: Mapping[str, Mapping[str, Any]]) -> list[tuple[dict[str, Any], list[str]]]:
    """Return the arms that are compared with each other: those of one point of a sweep.

    A sweep of a single arm compares its points instead.

    Parameters
    ----------
    arms : iterable of str
    points : mapping of str to mapping
        Of an arm of a sweep, its value of every swept setting.

    Returns
    -------
    list of (dict, list of str)
        The values that the arms of a group share, and their names, in order.
    """
    found: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for arm in arms:
        values = dict(points.get(arm, {}))
        found.setdefault(repr(values), (values, []))[1].append(arm)
    alone = len(found) > 1 and all(len(names) == 1 for _, names in found.values())
    return [({}, [arm for _, names in found.values() for arm in names])] if alone else list(found.values())
