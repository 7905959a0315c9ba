"""Which quantities of an optimisation fall by orders of magnitude, so that a logarithmic axis shows them."""

from collections.abc import Mapping

from semfed.events.metrics import Metrics
from semfed.runs.summary import Curves


def measured(by_arm: Curves, metrics: Metrics) -> list[str]:
    """Return the metrics of convergence that are above 0 with all seeds at least once: a logarithm shows no other."""
    names = dict.fromkeys(name for told in by_arm.values() for name in told if metrics.of(name).role == "convergence")
    return [name for name in names if any(_rises(told.get(name, {})) for told in by_arm.values())]


def _rises(seeds: Mapping[int, Mapping[int, float]]) -> bool:
    rounds = set.intersection(*map(set, seeds.values())) if seeds else ()
    return any(all(values[round_] > 0 for values in seeds.values()) for round_ in rounds)
