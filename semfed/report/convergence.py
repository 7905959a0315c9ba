"""Figures of how an optimisation converges: quantities that fall by orders of magnitude, on a logarithmic axis."""

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.figure import Figure

from semfed.events.metrics import Metrics
from semfed.runs.summary import Curves


def measured(by_arm: Curves, metrics: Metrics) -> list[str]:
    """Return the metrics of convergence that are above 0 with all seeds at least once: a logarithm shows no other."""
    names = dict.fromkeys(name for told in by_arm.values() for name in told if metrics.of(name).role == "convergence")
    return [name for name in names if any(_rises(told.get(name, {})) for told in by_arm.values())]


def _rises(seeds: Mapping[int, Mapping[int, float]]) -> bool:
    rounds = set.intersection(*map(set, seeds.values())) if seeds else ()
    return any(all(values[round_] > 0 for values in seeds.values()) for round_ in rounds)


def against_round_log(by_arm: Curves, name: str, label: str, colours: Iterable[str]) -> Figure:
    """Draw a positive quantity against the round: geometric mean over seeds, its range shaded."""
    figure = Figure()
    axes = figure.subplots()
    for (arm, told), colour in zip(by_arm.items(), colours, strict=False):
        seeds = told.get(name, {})
        rounds = sorted(set.intersection(*(set(values) for values in seeds.values()))) if seeds else []
        values = np.array([[seeds[seed][r] for r in rounds] for seed in seeds])
        if rounds:
            values = np.where(values > 0, values, np.nan)  # what is exactly reached has no place on the axis
            axes.plot(rounds, np.exp(np.log(values).mean(axis=0)), color=colour, label=arm)
            axes.fill_between(rounds, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    axes.set_yscale("log")
    axes.set_xlabel("communication round")
    axes.set_ylabel(label)
    if axes.lines:
        axes.legend(loc="best")
    return figure
