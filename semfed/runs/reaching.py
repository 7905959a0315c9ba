"""What it takes to reach a value: rounds, bytes and channel uses, where seeds that never do count as infinite."""

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from semfed.events.metrics import BYTES, Metric
from semfed.runs.comparisons import groups
from semfed.scenario import Point

SHARES = (0.9, 0.95, 0.99)
"""Of the best arm's final mean: what a summary tells of."""
PRICES = {"bytes": tuple(metric.name for metric in BYTES), "channel_uses": ("cost/channel_uses",)}
"""What is paid in training until then, all clients, both directions: metrics of the history that are added up."""

Seeds = Mapping[int, Mapping[int, float]]
"""seed -> round -> value"""


def target_of(best: float, metric: Metric, share: float) -> float | None:
    """Return what counts as a share of the best value: share * best, or best / share where less is better.

    None where that makes no sense: of a value that is not positive and finite, or has no direction.

    Examples
    --------
    >>> target_of(0.8, Metric("accuracy", better="higher"), 0.95)
    0.76
    >>> target_of(0.19, Metric("error", better="lower"), 0.95)
    0.2
    """
    if metric.better is None or not math.isfinite(best) or best <= 0:
        return None
    return best * share if metric.better == "higher" else best / share


def reach(told: Mapping[str, Seeds], metric: Metric, name: str, target: float) -> dict[str, Any]:
    """Return what an arm takes until its first test at which it is as good as a target.

    Parameters
    ----------
    told : mapping
        Of one arm: metric -> seed -> round -> value, over all clients; see `semfed.runs.summary.curves`.
    metric : Metric
    name : str
        As it is recorded.
    target : float

    Returns
    -------
    dict
        ``n``, the number of seeds, and ``reached``, how many of them did; for ``rounds``, ``bytes`` and
        ``channel_uses`` (if they are counted) each ``values`` by seed, infinite where the target was never reached,
        and their ``median``: infinite, too, unless more than half of the seeds reached it.
    """
    rounds = {seed: first(values, metric, target) for seed, values in sorted(told.get(name, {}).items())}
    found: dict[str, Any] = {
        "n": len(rounds),
        "reached": sum(map(math.isfinite, rounds.values())),
        "rounds": _over_seeds(rounds),
    }
    for price, names in PRICES.items():
        counted = [told[name] for name in names if name in told]
        if counted:
            found[price] = _over_seeds({seed: _spent(counted, seed, last) for seed, last in rounds.items()})
    return found


def reached(
    arms: Mapping[str, Any],
    points: Mapping[str, Point],
    by_arm: Mapping[str, Mapping[str, Seeds]],
    metric: Metric,
    name: str,
) -> list[dict[str, Any]]:
    """Return for every point of a sweep what its arms take to come near the final mean of the best one.

    Parameters
    ----------
    arms : mapping
        Of a summary.
    points : mapping of str to Point
        What the arms of a sweep are.
    by_arm : mapping
        arm -> metric -> seed -> round -> value.
    metric : Metric
    name : str
        As it is recorded.

    Returns
    -------
    list of dict
        ``point``, the value of every swept setting; ``best``, an arm; ``share``, one of `SHARES`; ``target``; and
        ``arms``, what `reach` tells of each.
    """
    each = []
    for point, together in groups(arms, points):
        finals = {arm: arms[arm]["final"][name]["mean"] for arm in together if name in arms[arm]["final"]}
        best = metric.best(finals)
        for share in SHARES:
            target = None if best is None else target_of(finals[best], metric, share)
            if target is not None:
                told = {arm: reach(by_arm[arm], metric, name, target) for arm in finals}
                each.append({"point": point, "best": best, "share": share, "target": target, "arms": told})
    return each


def first(values: Mapping[int, float], metric: Metric, target: float) -> float:
    """Return the first round whose value is as good as the target; infinite without any.

    Parameters
    ----------
    values : mapping of int to float
        By round.
    metric : Metric
        With a direction.
    target : float
    """
    sign = 1 if metric.better == "higher" else -1
    return min((round_ for round_, value in values.items() if sign * value >= sign * target), default=math.inf)


def _spent(counted: Iterable[Seeds], seed: int, last: float) -> float:
    """Return what was paid up to a round, that one included."""
    if math.isinf(last):
        return last
    return sum(value for seeds in counted for round_, value in seeds.get(seed, {}).items() if round_ <= last)


def _over_seeds(values: Mapping[int, float]) -> dict[str, Any]:
    return {
        "median": statistics.median(values.values()) if values else None,
        "values": {str(seed): value for seed, value in values.items()},
    }
