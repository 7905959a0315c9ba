"""What is drawn as lines: metrics against rounds, costs, swept settings, each other, and numbers in their names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from semfed.events.metrics import NUMBER, Metric, Metrics
from semfed.report.chart import Chart, place, written
from semfed.report.style import look
from semfed.runs.summary import Curves, names_of
from semfed.scenario import Sweep
from semfed.scenario.labels import label


def common_rounds(seeds: Mapping[int, Mapping[int, float]]) -> list[int]:
    """Return the rounds for which all seeds have a value."""
    return sorted(set.intersection(*(set(values) for values in seeds.values()))) if seeds else []


def against_round(
    by_arm: Curves, metric: Metric, name: str, baselines: Mapping[str, float], *, log: bool = False
) -> Figure:
    """Draw a metric against the round; of what adds up over rounds, the total so far."""
    so_far = metric.over_rounds == "sum"
    chart = Chart("communication round", metric.label(name) + " so far" * so_far, lines=len(by_arm), log=log)
    for index, (arm, told) in enumerate(by_arm.items()):
        seeds = told.get(name, {})
        if so_far:
            seeds = {seed: _added_up(values) for seed, values in seeds.items()}
        points = {float(r): [metric.scale * values[r] for values in seeds.values()] for r in common_rounds(seeds)}
        chart.line(index, arm, points)
    if name in baselines:
        chart.reference(metric.scale * baselines[name], metric.baseline)
    chart.rounds()
    return chart.finish()


def against_cost(by_arm: Curves, metric: Metric, name: str, costs: Sequence[Metric], x: str, scale: float) -> Figure:
    """Draw a metric against what the scheme has spent so far, all clients, on average over seeds.

    Parameters
    ----------
    by_arm : Curves
    metric : Metric
    name : str
        As it is recorded.
    costs : sequence of Metric
        What is spent, added up.
    x : str
        What the sum is called, in the unit that comes from multiplying it with `scale`.
    scale : float
    """
    chart = Chart(x, metric.label(name), lines=len(by_arm))
    for index, (arm, told) in enumerate(by_arm.items()):
        seeds = told.get(name, {})
        spent = [
            _added_up(
                {r: sum(told[c.name][seed].get(r, 0.0) for c in costs if c.name in told) for r in range(last + 1)}
            )
            for seed, last in ((seed, max(values)) for seed, values in seeds.items())
        ]
        points = {
            scale * float(np.mean([so_far[r] for so_far in spent])): [metric.scale * v[r] for v in seeds.values()]
            for r in common_rounds(seeds)
        }
        chart.line(index, arm, points)
    return chart.finish()


def _added_up(by_round: Mapping[int, float]) -> dict[int, float]:
    rounds = sorted(by_round)
    return dict(zip(rounds, np.cumsum([by_round[r] for r in rounds]).tolist(), strict=True))


@dataclass(frozen=True)
class Swept:
    """An arm at a point of a sweep.

    Attributes
    ----------
    name : str
        Of the arm at this point, as it is recorded.
    arm : str
        Its name without the point.
    values : mapping of str to value
        Of every swept setting.
    """

    name: str
    arm: str
    values: Mapping[str, Any]


def swept(tree: Mapping[str, Any]) -> list[Swept]:
    """Return the arms of a scenario's tables with their points; none without a sweep."""
    if "sweep" not in tree:
        return []
    sweep = Sweep.model_validate(tree["sweep"])
    each = ((arm, value) for value in sweep.values for arm in sweep.arms)
    return [Swept(made["name"], arm, {sweep.setting: v}) for made, (arm, v) in zip(tree["arms"], each, strict=True)]


@dataclass(frozen=True)
class Sweeping:
    """What a sweep's figures are made from: summary, points, and labels of the swept settings by their paths."""

    summary: Mapping[str, Any]
    points: Sequence[Swept]
    labels: Mapping[str, str]

    def panels(self, setting: str) -> dict[str, list[Swept]]:
        """Return the points for every combination of the other settings' values, which are written in the title."""
        found: dict[str, list[Swept]] = {}
        for point in self.points:
            found.setdefault(self.title(point, but=setting), []).append(point)
        return found

    def title(self, point: Swept, but: str = "") -> str:
        """Write the values of a point, each with its label and unit, other than that of one setting."""
        return ", ".join(
            quantity(self.labels.get(name, label(name)), value) for name, value in point.values.items() if name != but
        )


def quantity(called: str, value: Any) -> str:
    """Write a value of what has a label, with its unit.

    Examples
    --------
    >>> quantity("SNR (dB)", 5), quantity("batch size", 64)
    ('SNR 5 dB', 'batch size 64')
    """
    words, _, unit = called.partition(" (")
    return " ".join(filter(None, (words, written(value), unit.removesuffix(")"))))


def against_setting(sweeping: Sweeping, setting: str, metric: Metric, name: str) -> Figure:
    """Draw the final value of a metric against a swept setting, in a panel for every point of the other ones."""
    panels = sweeping.panels(setting)
    arms = list(dict.fromkeys(point.arm for point in sweeping.points))
    x = sweeping.labels.get(setting, label(setting))
    chart = Chart(x, metric.label(name), lines=len(arms), panels=list(panels))
    values = unique(point.values[setting] for point in sweeping.points)
    for panel, points in enumerate(panels.values()):
        places = place(chart.panels[panel], values)
        for index, arm in enumerate(arms):
            told = {
                places[values.index(point.values[setting])]: _finals(sweeping.summary, point.name, metric, name)
                for point in points
                if point.arm == arm
            }
            chart.line(index, arm, {x: seeds for x, seeds in told.items() if seeds}, panel=panel)
    if name in sweeping.summary["baselines"]:
        chart.reference(metric.scale * sweeping.summary["baselines"][name], metric.baseline)
    return chart.finish()


def _finals(summary: Mapping[str, Any], arm: str, metric: Metric, name: str) -> list[float]:
    entry = summary["arms"][arm]["final"].get(name, {"values": {}})
    return [metric.scale * value for value in entry["values"].values()]


def unique(values: Iterable[Any]) -> list[Any]:
    """Return every value once, in order; tables, which have no hash, too."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def both(summary: Mapping[str, Any], metrics: Metrics, metric: Metric) -> list[str]:
    """Return the parts, such as tasks, for which every arm has both a metric and the one that it is drawn against."""
    if not metric.against or NUMBER in metric.name:
        return []
    parts = [metric.part(name) for name in names_of(summary, metrics, metric)]
    finals = [arm["final"] for arm in summary["arms"].values()]
    return [p for p in parts if all(f"{m}/{p}" in final for final in finals for m in (metric.name, metric.against))]


def against_metric(
    summary: Mapping[str, Any], points: Sequence[Swept], metric: Metric, price: Metric, part: str
) -> Figure:
    """Draw every arm's final value, such as its error, against that of another metric, such as its rate.

    There is a marker a seed. Of a sweep, a line joins the means over seeds in the order of the sweep's points.
    """
    x_name, y_name = f"{price.name}/{part}", f"{metric.name}/{part}"
    names: dict[str, list[str]] = {}
    for point in points or [Swept(arm, arm, {}) for arm in summary["arms"]]:
        names.setdefault(point.arm, []).append(point.name)
    chart = Chart(price.label(x_name), metric.label(y_name), lines=len(names))
    counts = set()
    for index, (arm, told) in enumerate(names.items()):
        finals = [summary["arms"][name]["final"] for name in told]
        xs, ys = ([final[name] for final in finals] for name in (x_name, y_name))
        x, y = (np.array([v for entry in found for v in entry["values"].values()]) for found in (xs, ys))
        looks = look(index)
        chart.axes.plot(price.scale * x, metric.scale * y, **(looks | {"linestyle": "none"}), label=arm)
        means = ([m.scale * entry["mean"] for entry in found] for m, found in ((price, xs), (metric, ys)))
        chart.axes.plot(*means, **(looks | {"marker": None}))
        counts |= {len(entry["values"]) for entry in ys}
    return chart.finish("a marker a seed" + ", line: means over seeds" * (bool(points) and max(counts) > 1))


def family(summary: Mapping[str, Any], metrics: Metrics, metric: Metric) -> dict[float, str]:
    """Return the members of a family by their numbers in rising order: those of one part, over all clients if told."""
    names = names_of(summary, metrics, metric) if NUMBER in metric.name else []
    return dict(sorted((metrics.number(name), name) for name in names if metric.part(name) == metric.part(names[-1])))


def against_number(sweeping: Sweeping, metric: Metric, members: Mapping[float, str]) -> Figure:
    """Draw the final values of a family, such as accuracies of trained models at other SNRs, against its number.

    Every point of a sweep has a panel.
    """
    summary = sweeping.summary
    points = sweeping.points or [Swept(arm, arm, {}) for arm in summary["arms"]]
    panels, arms = unique(map(sweeping.title, points)), list(dict.fromkeys(point.arm for point in points))
    y = metric.label(next(iter(members.values())))
    chart = Chart(metric.against or "number", y, lines=len(arms), panels=panels)
    for panel in chart.panels:
        places = place(panel, list(members))
    for point in points:
        told = {x: _finals(summary, point.name, metric, name) for x, name in zip(places, members.values(), strict=True)}
        shown = {x: values for x, values in told.items() if values}
        chart.line(arms.index(point.arm), point.arm, shown, panel=panels.index(sweeping.title(point)))
    return chart.finish()
