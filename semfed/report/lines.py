"""What is drawn as lines: metrics against rounds, costs, swept settings, each other, and numbers in their names."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from matplotlib.figure import Figure

from semfed.channels.meter import LIMIT_DB
from semfed.events.metrics import NUMBER, Metric, Metrics
from semfed.report.chart import Chart
from semfed.report.dots import dots
from semfed.report.style import look
from semfed.report.ticks import few, place, written
from semfed.runs.summary import Curves, names_of
from semfed.scenario import Point, Sweep
from semfed.scenario.labels import label


def common_rounds(seeds: Mapping[int, Mapping[int, float]]) -> list[int]:
    """Return the rounds for which all seeds have a value."""
    return sorted(set.intersection(*(set(values) for values in seeds.values()))) if seeds else []


def drawn(metric: Metric, value: float) -> float:
    """Return where a value stands on an axis; a ratio of powers without noise, or without signal, stands nowhere."""
    endless = metric.over_clients == "power-mean" and abs(value) >= LIMIT_DB
    return math.nan if endless else metric.scale * value


def against_round(
    by_arm: Curves, metric: Metric, name: str, baselines: Mapping[str, float], *, log: bool = False
) -> Figure:
    """Draw a metric against the round; of what adds up over rounds, the total so far.

    What all arms have measured once only is no curve, but a dot an arm.
    """
    so_far = metric.over_rounds == "sum"
    lines: dict[str, dict[float, list[float]]] = {}
    for arm, told in by_arm.items():
        seeds = told.get(name, {})
        if so_far:
            seeds = {seed: _added_up(values) for seed, values in seeds.items()}
        lines[arm] = {r: [drawn(metric, values[r]) for values in seeds.values()] for r in common_rounds(seeds)}
    reference = (metric.scale * baselines[name], metric.baseline) if name in baselines else None
    y = metric.label(name) + " so far" * so_far
    rounds = {round_ for points in lines.values() for round_ in points}
    if len(rounds) == 1:
        once = {arm: seeds for arm, points in lines.items() for seeds in points.values()}
        return dots(once, f"{y} after round {rounds.pop():g}", percent=metric.fraction, reference=reference)
    chart = Chart("communication round", y, lines=sum(map(bool, lines.values())), percent=metric.fraction, log=log)
    for index, (arm, points) in enumerate(lines.items()):
        chart.line(index, arm, points)
    if reference is not None:
        chart.reference(*reference)
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
    chart, places = Chart(x, metric.label(name), lines=len(by_arm), percent=metric.fraction), set[float]()
    for index, (arm, told) in enumerate(by_arm.items()):
        seeds = told.get(name, {})
        spent = [
            _added_up(
                {r: sum(told[c.name][seed].get(r, 0.0) for c in costs if c.name in told) for r in range(last + 1)}
            )
            for seed, last in ((seed, max(values)) for seed, values in seeds.items())
        ]
        points = {
            scale * float(np.mean([so_far[r] for so_far in spent])): [drawn(metric, v[r]) for v in seeds.values()]
            for r in common_rounds(seeds)
        }
        chart.line(index, arm, points)
        places |= points.keys()
    few(chart.axes, places)
    return chart.finish()


def _added_up(by_round: Mapping[int, float]) -> dict[int, float]:
    rounds = sorted(by_round)
    return dict(zip(rounds, np.cumsum([by_round[r] for r in rounds]).tolist(), strict=True))


@dataclass(frozen=True)
class Sweeping:
    """Summary and points of a sweep, of which its figures are made; without a sweep, every arm is a point of its own.

    Attributes
    ----------
    summary : mapping
    points : mapping of str to Point
        By the arms' names.
    labels : mapping of str to str
        Of the swept settings.
    """

    summary: Mapping[str, Any]
    points: Mapping[str, Point]
    labels: Mapping[str, str]

    @classmethod
    def of(cls, summary: Mapping[str, Any], scenario: Mapping[str, Any], labels: Mapping[str, str]) -> Self:
        """Read a scenario's tables; a setting without a label is called by its name."""
        if "sweep" not in scenario:
            return cls(summary, {arm: Point(arm, {}) for arm in summary["arms"]}, {})
        sweep = Sweep.model_validate(scenario["sweep"])
        found = {axis.setting: labels.get(axis.setting) or label(axis.setting) for axis in sweep.axes}
        return cls(summary, sweep.points(), found)

    @property
    def arms(self) -> list[str]:
        """The arms that were swept."""
        return list(dict.fromkeys(point.arm for point in self.points.values()))

    def titles(self, but: str = "") -> list[str]:
        """Return the combinations of values that there are, other than those of one setting, as `title` writes them."""
        return list(dict.fromkeys(self.title(point, but) for point in self.points.values()))

    def title(self, point: Point, but: str = "") -> str:
        """Write the values of a point, each with its label and unit, other than that of one setting."""
        return ", ".join(quantity(self.labels[name], value) for name, value in point.values.items() if name != but)


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
    """Draw the final value of a metric against a swept setting, in a panel for every combination of the other ones."""
    titles, arms = sweeping.titles(but=setting), sweeping.arms
    chart = Chart(sweeping.labels[setting], metric.label(name), lines=len(arms), panels=titles, percent=metric.fraction)
    values = unique(point.values[setting] for point in sweeping.points.values())
    places = place(chart.axes, values)
    told: dict[tuple[str, str], dict[float, list[float]]] = {}
    for made, point in sweeping.points.items():
        found = _finals(sweeping.summary, made, metric, name)
        if found:
            line = told.setdefault((sweeping.title(point, but=setting), point.arm), {})
            line[places[values.index(point.values[setting])]] = found
    for (title, arm), points in told.items():
        chart.line(arms.index(arm), arm, points, panel=titles.index(title))
    if name in sweeping.summary["baselines"]:
        chart.reference(metric.scale * sweeping.summary["baselines"][name], metric.baseline)
    return chart.finish()


def _finals(summary: Mapping[str, Any], arm: str, metric: Metric, name: str) -> list[float]:
    entry = summary["arms"][arm]["final"].get(name, {"values": {}})
    return [drawn(metric, value) for value in entry["values"].values()]


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


def against_metric(sweeping: Sweeping, metric: Metric, price: Metric, part: str) -> Figure:
    """Draw every arm's final value, such as its error, against that of another metric, such as its rate.

    There is a marker a seed. Of a sweep, a line joins the means over seeds in the order of the first setting's values,
    in a panel for every combination of the other ones.
    """
    x_name, y_name = f"{price.name}/{part}", f"{metric.name}/{part}"
    first = next(iter(sweeping.labels), "")
    titles, arms = sweeping.titles(but=first), sweeping.arms
    chart = Chart(price.label(x_name), metric.label(y_name), panels=titles, percent=metric.fraction)
    lines: dict[tuple[str, str], list[Any]] = {}
    for made, point in sweeping.points.items():
        final = sweeping.summary["arms"][made]["final"]
        lines.setdefault((sweeping.title(point, but=first), point.arm), []).append((final[x_name], final[y_name]))
    for (title, arm), found in lines.items():
        axes, looks = chart.panels[titles.index(title)], look(arms.index(arm))
        x, y = ([v for pair in found for v in pair[side]["values"].values()] for side in (0, 1))
        axes.plot(price.scale * np.array(x), metric.scale * np.array(y), **(looks | {"linestyle": "none"}), label=arm)
        means = ([m.scale * pair[side]["mean"] for pair in found] for side, m in ((0, price), (1, metric)))
        axes.plot(*means, **(looks | {"marker": None}))
        few(axes, ())
    return chart.finish("a marker a seed" + ", line: means over seeds" * bool(first))


def family(summary: Mapping[str, Any], metrics: Metrics, metric: Metric) -> dict[float, str]:
    """Return the members of a family by their numbers in rising order: those of one part, over all clients if told."""
    names = names_of(summary, metrics, metric) if NUMBER in metric.name else []
    return dict(sorted((metrics.number(name), name) for name in names if metric.part(name) == metric.part(names[-1])))


def against_number(sweeping: Sweeping, metric: Metric, members: Mapping[float, str]) -> Figure:
    """Draw the final values of a family, such as accuracies of trained models at other SNRs, against its number.

    Every point of a sweep has a panel.
    """
    titles, arms = sweeping.titles(), sweeping.arms
    y = metric.label(next(iter(members.values())))
    chart = Chart(metric.against or "number", y, lines=len(arms), panels=titles, percent=metric.fraction)
    places = place(chart.axes, list(members))
    for made, point in sweeping.points.items():
        told = {
            x: found
            for x, name in zip(places, members.values(), strict=True)
            if (found := _finals(sweeping.summary, made, metric, name))
        }
        chart.line(arms.index(point.arm), point.arm, told, panel=titles.index(sweeping.title(point)))
    return chart.finish()
