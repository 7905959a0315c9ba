"""Means over seeds with their intervals, differences of arms paired by seed, and tests of these: pure functions.

Seeds are few, so intervals are Student's: mean +- t(n - 1) s / sqrt(n), with the sample standard deviation s.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats would take a second to import

CONFIDENCE = 0.95


def mean_of(numbers: Sequence[float]) -> float:
    """Return the mean; nan or infinite where a number is."""
    return statistics.fmean(numbers) if all(map(math.isfinite, numbers)) else sum(numbers) / len(numbers)


def deviation_of(numbers: Sequence[float]) -> float:
    """Return the sample standard deviation; nan where a number is not finite."""
    return statistics.stdev(numbers) if all(map(math.isfinite, numbers)) else math.nan


def interval(numbers: Sequence[float], confidence: float = CONFIDENCE) -> list[float] | None:
    """Return the two-sided t-interval of the mean.

    Parameters
    ----------
    numbers : sequence of float
        Independent observations, one a seed.
    confidence : float, default 0.95

    Returns
    -------
    list of float or None
        Lower and upper end; None for fewer than two observations, which say nothing about their spread.
    """
    count = len(numbers)
    if count < 2:
        return None
    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * deviation_of(numbers) / count**0.5
    mean = mean_of(numbers)
    return [mean - half, mean + half]


def spread(values: Mapping[int, float]) -> dict[str, Any]:
    """Describe a quantity over seeds.

    Parameters
    ----------
    values : mapping of int to float
        By seed.

    Returns
    -------
    dict
        ``mean``; ``sd``, sample standard deviation, and ``ci95``, the interval of the mean, both None for one seed;
        ``values`` by seed.
    """
    ordered = dict(sorted(values.items()))
    numbers = list(ordered.values())
    return {
        "mean": mean_of(numbers),
        "sd": deviation_of(numbers) if len(numbers) > 1 else None,
        "ci95": interval(numbers),
        "values": {str(seed): value for seed, value in ordered.items()},
    }


def half_width(entry: Mapping[str, Any]) -> float | None:
    """Return half the interval of what `spread` told, which stands behind ±; None where there is none."""
    return None if entry["ci95"] is None else (entry["ci95"][1] - entry["ci95"][0]) / 2


def paired(values: Mapping[int, float], reference: Mapping[int, float]) -> dict[str, Any] | None:
    """Describe the difference to a reference over the seeds that both have; what seeds have in common cancels.

    Parameters
    ----------
    values, reference : mapping of int to float
        By seed.

    Returns
    -------
    dict or None
        As `spread` of value - reference, and ``positive``, in how many seeds it is above 0; None without a common
        seed.
    """
    differences = {seed: values[seed] - reference[seed] for seed in values.keys() & reference.keys()}
    if not differences:
        return None
    return spread(differences) | {"positive": sum(difference > 0 for difference in differences.values())}


class Tested(NamedTuple):
    """The outcome of a test: its p, or None and the reason why there is none."""

    p: float | None
    reason: str | None = None


EQUAL = "equal in all seeds"
"""Why two arms that give the same numbers have no p."""
EXACT = 50
"""Up to so many differences the signed-rank test counts all signs; beyond, its statistic is as good as normal."""


def t_test(differences: Sequence[float]) -> Tested:
    """Return the two-sided p of the paired t-test: how rare such a mean would be if there were no difference.

    Parameters
    ----------
    differences : sequence of float
        One a seed, as `resolved` gives them.
    """
    reason = _untestable(differences)
    if reason is not None:
        return Tested(None, reason)
    deviation = deviation_of(differences)
    if deviation == 0:
        return Tested(None, "the same difference in all seeds, so no spread to compare it with")
    statistic = mean_of(differences) / deviation * len(differences) ** 0.5
    return Tested(2 * float(stdtr(len(differences) - 1, -abs(statistic))))


def signed_rank_test(differences: Sequence[float]) -> Tested:
    """Return the two-sided p of Wilcoxon's signed-rank test, which asks for symmetry about 0, not for normality.

    Differences of 0 are left out, equal sizes share their mean rank, and p is exact given these ranks: the share of all
    2^n choices of signs with a rank sum at least as far out. So n differences have no p below 2 / 2^n: 0.0625 of five.
    More than `EXACT` have the normal approximation of `scipy.stats.wilcoxon`.

    Parameters
    ----------
    differences : sequence of float
        One a seed, as `resolved` gives them.
    """
    reason = _untestable(differences)
    if reason is not None:
        return Tested(None, reason)
    told = np.array([difference for difference in differences if difference])
    if len(told) > EXACT:
        from scipy.stats import wilcoxon  # takes a second to import

        return Tested(float(wilcoxon(told, method="asymptotic").pvalue))
    _, which, counts = np.unique(np.abs(told), return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(counts) - counts + 1)[which]  # twice the mean ranks are whole numbers
    ways = np.ones(1)
    for rank in doubled:  # ways[s]: choices of signs whose positive ranks add up to s
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    positive = int(doubled[told > 0].sum())
    smaller = min(positive, len(ways) - 1 - positive)
    return Tested(min(1.0, 2 * float(ways[: smaller + 1].sum() / ways.sum())))


def _untestable(differences: Sequence[float]) -> str | None:
    if len(differences) < 2:
        return "one common seed" if differences else "no common seed"
    if not all(map(math.isfinite, differences)):
        return "a value is not finite"
    return None if any(differences) else EQUAL


def resolved(values: Mapping[int, float], reference: Mapping[int, float]) -> list[float]:
    """Return value - reference of the seeds that both have, without what rounding has made of equal differences.

    0.3 - 0.2 and 0.2 - 0.1 differ in the seventeenth digit, which would make an absurdly small p of a spread that is
    none: differences are rounded to 14 digits of the largest value.
    """
    seeds = sorted(values.keys() & reference.keys())
    sizes = [abs(side[seed]) for side in (values, reference) for seed in seeds]
    finite = [size for size in sizes if math.isfinite(size) and size]
    digits = 13 - math.floor(math.log10(max(finite, default=1.0)))
    return [round(values[seed] - reference[seed], digits) for seed in seeds]


def holm(ps: Sequence[float | None], family: int | None = None) -> list[float | None]:
    """Return p-values adjusted for their number: below 5 % all together hold with 95 % (Holm 1979).

    Parameters
    ----------
    ps : sequence of float or None
        None where there was nothing to test.
    family : int, optional
        Of how many comparisons these are a part, if not all; the others then count as not rejected, which is on the
        safe side.

    Returns
    -------
    list of float or None
        In the same order: the running maximum of (family - k) p_k over rising p, k = 0, 1, ..., at most 1.
    """
    count, largest, adjusted = len(ps) if family is None else family, 0.0, dict[int, float]()
    for k, (p, place) in enumerate(sorted((p, place) for place, p in enumerate(ps) if p is not None)):
        largest = max(largest, min(1.0, (count - k) * p))
        adjusted[place] = largest
    return [adjusted.get(place) for place in range(len(ps))]
