"""Figures of a run, drawn from its folder only."""

import itertools
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from semfed.errors import RunFolderError
from semfed.events.metrics import BYTES, NUMBER, Metric, Metrics
from semfed.report import convergence
from semfed.report.feature_map import feature_map, features_of
from semfed.runs import folder as folders
from semfed.runs.summary import Curves, curves, headline_names, names_of, of_folder, other_scores
from semfed.scenario import Task, merge, read
from semfed.scenario.arms import Sweep, called

STYLE: dict[str, Any] = {
    "figure.figsize": (3.5, 2.6),
    "figure.dpi": 200,
    "font.size": 8,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": True,
    "legend.framealpha": 0.8,
    "legend.edgecolor": "none",
    "legend.fontsize": 7,
    "lines.linewidth": 1.3,
    "lines.markersize": 3,
    "text.parse_math": False,  # names are shown as they are
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FEW = 5
"""Lines that a legend and bands of their own do not crowd."""
MARKERS = ("o", "s", "^", "v", "D", "P", "x")


def plot(folder: Path) -> list[Path]:
    """Draw all figures of a run into ``plots/``, as PNG and PDF.

    A figure that cannot be drawn or written is told of and left out: it costs neither the others nor the run. Styles of
    the user's own, such as text by LaTeX, are not followed.

    Parameters
    ----------
    folder : Path
        A run folder.

    Returns
    -------
    list of Path
        The PNG files.

    Raises
    ------
    RunFolderError
        If it is not a run folder.
    """
    drawn = []
    with style.context(["default", STYLE]):
        for name, make in figures(folder).items():
            path = folder / "plots" / f"{name}.png"
            try:
                path.parent.mkdir(exist_ok=True)
                figure = make()
                FigureCanvasAgg(figure)
                for target in (path, path.with_suffix(".pdf")):
                    figure.savefig(target, bbox_inches="tight", metadata={})
            except Exception as error:
                logging.getLogger(__name__).warning("figure '%s' is left out: %s", path, error, exc_info=error)
            else:
                drawn.append(path)
    return drawn


def figures(folder: Path) -> dict[str, Callable[[], Figure]]:
    """Return what makes the figures that suit a run, by their names: from its folder alone, without its plugins.

    Raises
    ------
    RunFolderError
        If it is not a run folder, or a damaged one.
    """
    if not os.path.isfile(folder / folders.SCENARIO):
        raise RunFolderError(f"'{folder}' is not a run folder: it holds no {folders.SCENARIO}")
    try:
        return _figures(folder, read(folder / folders.SCENARIO))
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # of tables that are no scenario's
        raise RunFolderError(f"'{folder}' is damaged ({error!r}): repeat the run") from error


def _figures(folder: Path, scenario: Mapping[str, Any]) -> dict[str, Callable[[], Figure]]:
    metrics = folders.read_metrics(folder)
    summary = of_folder(folder)
    by_arm = curves(folders.each_record(folder), metrics)
    sweep = Sweep.model_validate(scenario["sweep"]) if "sweep" in scenario else None
    found: dict[str, Callable[[], Figure]] = {}
    for name in [*headline_names(summary, metrics), *other_scores(summary, metrics)]:
        metric, file = metrics.of(name), name.replace("/", "-")
        if sweep is not None:
            found[f"{file}-vs-{sweep.axes[0].setting}"] = partial(against_setting, summary, sweep, metric, name)
            continue
        found[f"{file}-vs-round"] = partial(against_round, by_arm, metric, name, summary["baselines"])
        if name == summary["headline"]:
            found[f"{file}-vs-bytes"] = partial(against_bytes, by_arm, metric, name)
    for metric in metrics:
        members = family(summary, metrics, metric)
        if members:
            found[f"{slug(metric.words)}-vs-{slug(metric.against)}"] = partial(against_number, summary, metric, members)
        for part in both(summary, metrics, metric):
            price = metrics.of(metric.against)
            file = f"{metric.name}-{part}-vs-{metric.against}"
            found[file] = partial(against_metric, summary, sweep, metric, price, part)
    if sweep is None:
        symbols = Task.model_validate(scenario["tasks"][scenario["clients"][0]["task"]]).symbols
        shown = features_of(folder, list(summary["arms"]), scenario["seeds"][0])
        if shown:
            found["received-features"] = partial(feature_map, shown, symbols)
        for name in convergence.measured(by_arm, metrics):
            label, colours = metrics.of(name).label(name), itertools.cycle(COLOURS)
            file = name.replace("/", "-")
            found[file] = partial(convergence.against_round_log, by_arm, name, label, colours)
    if summary.get("similarity"):
        found["similarity"] = partial(similarity_map, summary, scenario)
    return found


def against_round(by_arm: Curves, metric: Metric, name: str, baselines: Mapping[str, float]) -> Figure:
    """Draw a metric against the round: mean line, one standard deviation over seeds shaded."""
    figure, axes = _axes("communication round", metric.label(name))
    for index, (arm, told) in enumerate(by_arm.items()):
        seeds = told.get(name, {})
        rounds = sorted(set.intersection(*(set(values) for values in seeds.values()))) if seeds else []
        if rounds:
            values = metric.scale * np.array([[seeds[seed][r] for r in rounds] for seed in seeds])
            _line(axes, index, arm, np.array(rounds), values, arms=len(by_arm))
    _baseline(axes, metric, name, baselines)
    _legend(axes)
    return figure


def against_bytes(by_arm: Curves, metric: Metric, name: str) -> Figure:
    """Draw a metric against the bytes exchanged so far, both directions, all clients."""
    figure, axes = _axes("megabytes exchanged, both directions", metric.label(name))
    for index, (arm, told) in enumerate(by_arm.items()):
        seeds = told.get(name, {})
        if not seeds:
            continue
        rounds = sorted(set.intersection(*(set(values) for values in seeds.values())))
        values = metric.scale * np.array([[seeds[seed][r] for r in rounds] for seed in seeds])
        spent = []
        for seed in seeds:
            per_round = {
                r: sum(told[c.name][seed].get(r, 0.0) for c in BYTES if c.name in told) for r in range(rounds[-1] + 1)
            }
            spent.append([sum(per_round[q] for q in range(r + 1)) / 1e6 for r in rounds])
        _line(axes, index, arm, np.mean(spent, axis=0), values, arms=len(by_arm))
    _legend(axes)
    return figure


def against_setting(summary: Mapping[str, Any], sweep: Sweep, metric: Metric, name: str) -> Figure:
    """Draw the final value of a metric against the first setting that a sweep varied; the others tell lines apart."""
    axis, lines = sweep.axes[0], swept_lines(sweep)
    figure, axes = _axes(axis.setting, metric.label(name))
    for index, (label, names) in enumerate(lines.items()):
        points = [
            (value if axis.numeric else called(value), list(summary["arms"][swept]["final"][name]["values"].values()))
            for value, swept in zip(axis.values, names, strict=True)
            if name in summary["arms"][swept]["final"]
        ]
        if points:
            values = metric.scale * np.array([x for _, x in points]).T
            _line(axes, index, label, np.array([v for v, _ in points]), values, arms=len(lines))
    _baseline(axes, metric, name, summary["baselines"])
    _legend(axes)
    return figure


def swept_lines(sweep: Sweep) -> dict[str, list[str]]:
    """Return the lines of a sweep's figures by their labels: the arms' names in the order of the first axis."""
    lines: dict[str, list[str]] = {}
    for name, point in sweep.points().items():
        values = [f"{axis.setting} = {called(point.values[axis.setting])}" for axis in sweep.axes[1:]]
        lines.setdefault(", ".join([point.arm, *values]), []).append(name)
    return lines


def both(summary: Mapping[str, Any], metrics: Metrics, metric: Metric) -> list[str]:
    """Return the parts, such as tasks, for which every arm has both a metric and the one that it is drawn against."""
    if not metric.against or NUMBER in metric.name:
        return []
    parts = [metric.part(name) for name in names_of(summary, metrics, metric)]
    finals = [arm["final"] for arm in summary["arms"].values()]
    return [p for p in parts if all(f"{m}/{p}" in final for final in finals for m in (metric.name, metric.against))]


def against_metric(summary: Mapping[str, Any], sweep: Sweep | None, metric: Metric, price: Metric, part: str) -> Figure:
    """Draw every arm's final value, such as its error, against that of another metric, such as its rate.

    There is a marker a seed. Of a sweep, a line joins the means over seeds in the order of the sweep's values.
    """
    x_name, y_name = f"{price.name}/{part}", f"{metric.name}/{part}"
    figure, axes = _axes(price.label(x_name), metric.label(y_name))
    lines = {arm: [arm] for arm in summary["arms"]} if sweep is None else swept_lines(sweep)
    for index, (arm, names) in enumerate(lines.items()):
        finals = [summary["arms"][name]["final"] for name in names]
        xs, ys = ([final[name] for final in finals] for name in (x_name, y_name))
        x, y = (np.array([v for entry in found for v in entry["values"].values()]) for found in (xs, ys))
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        axes.plot(price.scale * x, metric.scale * y, color=colour, marker=marker, linestyle="none", label=arm)
        means = ([m.scale * entry["mean"] for entry in found] for m, found in ((price, xs), (metric, ys)))
        axes.plot(*means, color=colour)
    _legend(axes)
    return figure


def family(summary: Mapping[str, Any], metrics: Metrics, metric: Metric) -> dict[float, str]:
    """Return the members of a family by their numbers in rising order: those of one part, over all clients if told."""
    names = names_of(summary, metrics, metric) if NUMBER in metric.name else []
    return dict(sorted((metrics.number(name), name) for name in names if metric.part(name) == metric.part(names[-1])))


def against_number(summary: Mapping[str, Any], metric: Metric, members: Mapping[float, str]) -> Figure:
    """Draw the final values of a family, such as accuracies of trained models at other SNRs, against its number."""
    figure, axes = _axes(metric.against, metric.label(next(iter(members.values()))))
    for index, (arm, told) in enumerate(summary["arms"].items()):
        points = {x: told["final"][name]["values"].values() for x, name in members.items() if name in told["final"]}
        if points:
            values = metric.scale * np.array([list(v) for v in points.values()]).T
            _line(axes, index, arm, np.array(list(points)), values, arms=len(summary["arms"]))
    _legend(axes)
    return figure


def slug(axis: str) -> str:
    """Return the label of an axis as a part of a file's name.

    Examples
    --------
    >>> slug("test SNR (dB)")
    'test-snr'
    """
    return axis.partition(" (")[0].lower().replace(" ", "-")


def similarity_map(summary: Mapping[str, Any], scenario: Mapping[str, Any]) -> Figure:
    """Draw the similarity matrix with the threshold and the clusters that it makes."""
    matrix = np.array(summary["similarity"])
    names = [client["name"] for client in scenario["clients"]]
    figure = Figure(figsize=(3.5, 2.9))
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, shrink=0.85, label="semantic similarity")
    few = len(names) <= 12
    if few:
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if value > 0.6 else "black"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", color=colour, fontsize=7)
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    title = ""
    if summary["threshold"] is not None:
        bar.ax.axhline(summary["threshold"], color="#D55E00", linewidth=1.5)
        title = f"threshold {summary['threshold']:.3f}"
    found = _clusters_by_similarity(summary, scenario)
    if found and few:
        joined = ", ".join("{" + ", ".join(names[client] for client in cluster) + "}" for cluster in found)
        title = f"{title}\n{joined}" if title else joined
    axes.set_title(title, fontsize=8)
    return figure


def _clusters_by_similarity(summary: Mapping[str, Any], scenario: Mapping[str, Any]) -> list[list[int]] | None:
    changes = {arm["name"]: arm for arm in scenario.get("arms", ())}
    for arm, clusters in summary["clusters"].items():
        if merge(scenario, changes.get(arm, {}))["strategy"].get("clusters") == "similarity":
            return list(clusters)
    return None


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure()
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _legend(axes: Axes) -> None:
    """Explain the lines: inside of the axes, or below them where many would cover what they explain."""
    handles, _ = axes.get_legend_handles_labels()
    if len(handles) <= FEW:
        axes.legend(loc="best")
    else:
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2, frameon=False)


def _baseline(axes: Axes, metric: Metric, name: str, baselines: Mapping[str, float]) -> None:
    """Draw what a trivial decision reaches, where that is known."""
    if name in baselines:
        axes.axhline(metric.scale * baselines[name], color="0.5", linestyle=":", linewidth=1, label=metric.baseline)


def _line(axes: Axes, index: int, label: str, x: np.ndarray, values: np.ndarray, *, arms: int) -> None:
    """Draw an arm: the mean over seeds and, unless there are many arms, one standard deviation as a band."""
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    mean = values.mean(axis=0)
    axes.plot(x, mean, color=colour, marker=marker if len(x) <= 40 else None, label=label)
    if len(values) > 1 and arms <= FEW:
        sd = values.std(axis=0, ddof=1)
        axes.fill_between(x, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
