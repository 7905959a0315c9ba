"""Means over seeds with their intervals, and differences of arms paired by seed: pure functions.

Seeds are few, so intervals are Student's: mean +- t(n - 1) s / sqrt(n), with the sample standard deviation s.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.special import stdtrit  # Student's quantile; scipy.stats would take a second to import

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
