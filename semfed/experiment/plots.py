"""Figures of a run, drawn from its folder only."""

import itertools
import logging
import os
import re
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
from semfed.experiment import convergence, origins
from semfed.experiment import folder as folders
from semfed.experiment.feature_map import feature_map, features_of
from semfed.experiment.summary import Curves, curves, metrics_of, of_folder, shown_metrics
from semfed.scenario import Scenario, Sweep, read, validate

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
    """Return what makes the figures that suit a run, by their names.

    Raises
    ------
    RunFolderError
        If it is not a run folder.
    """
    if not os.path.isfile(folder / folders.SCENARIO):
        raise RunFolderError(f"'{folder}' is not a run folder: it holds no {folders.SCENARIO}")
    origins.search_again(folder)
    scenario = validate(read(folder / folders.SCENARIO))
    summary = of_folder(folder, scenario)
    by_arm = curves(folders.each_record(folder))
    found: dict[str, Callable[[], Figure]] = {}
    for metric in [*shown_metrics(summary), *metrics_of(summary, "nmse")[-1:]]:
        name = metric.replace("/", "-")
        if scenario.sweep is not None:
            found[f"{name}-vs-{scenario.sweep.setting}"] = partial(against_setting, summary, scenario.sweep, metric)
            continue
        found[f"{name}-vs-round"] = partial(against_round, by_arm, metric, summary["baselines"])
        if metric == scenario.headline:
            found[f"{name}-vs-bytes"] = partial(against_bytes, by_arm, metric)
    if test_snrs(summary):
        found["accuracy-vs-test-snr"] = partial(against_test_snr, summary)
    if scenario.sweep is None:
        symbols = scenario.tasks[scenario.clients[0].task].symbols
        shown = features_of(folder, scenario.arm_names, scenario.seeds[0])
        if shown:
            found["received-features"] = partial(feature_map, shown, symbols)
        for metric in convergence.measured(by_arm):
            colours = itertools.cycle(COLOURS)
            found[metric.replace("/", "-")] = partial(convergence.against_round_log, by_arm, metric, colours)
    for task in shown_rates(summary):
        found[f"error-{task}-vs-rate"] = partial(against_rate, summary, scenario.sweep, task)
    if summary.get("similarity"):
        found["similarity"] = partial(similarity_map, summary, scenario)
    return found


def against_round(by_arm: Curves, metric: str, baselines: Mapping[str, float]) -> Figure:
    """Draw a fraction in percent against the round: mean line, one standard deviation over seeds shaded."""
    figure, axes = _axes("communication round", _label(metric))
    for index, (arm, metrics) in enumerate(by_arm.items()):
        seeds = metrics.get(metric, {})
        rounds = sorted(set.intersection(*(set(values) for values in seeds.values()))) if seeds else []
        if rounds:
            values = 100 * np.array([[seeds[seed][r] for r in rounds] for seed in seeds])
            _line(axes, index, arm, np.array(rounds), values, arms=len(by_arm))
    if metric in baselines:
        axes.axhline(100 * baselines[metric], color="0.5", linestyle=":", linewidth=1, label="majority class")
    _legend(axes)
    return figure


def against_bytes(by_arm: Curves, metric: str) -> Figure:
    """Draw a fraction in percent against the bytes exchanged so far, both directions, all clients."""
    figure, axes = _axes("megabytes exchanged, both directions", _label(metric))
    for index, (arm, metrics) in enumerate(by_arm.items()):
        seeds = metrics.get(metric, {})
        if not seeds:
            continue
        rounds = sorted(set.intersection(*(set(values) for values in seeds.values())))
        values = 100 * np.array([[seeds[seed][r] for r in rounds] for seed in seeds])
        spent = []
        for seed in seeds:
            per_round = {
                r: sum(metrics[c][seed].get(r, 0.0) for c in ("cost/bytes_up", "cost/bytes_down") if c in metrics)
                for r in range(rounds[-1] + 1)
            }
            spent.append([sum(per_round[q] for q in range(r + 1)) / 1e6 for r in rounds])
        _line(axes, index, arm, np.mean(spent, axis=0), values, arms=len(by_arm))
    _legend(axes)
    return figure


def against_setting(summary: Mapping[str, Any], sweep: Sweep, metric: str) -> Figure:
    """Draw the final value of a fraction in percent against the setting that a sweep varied."""
    figure, axes = _axes(sweep.setting, _label(metric))
    for index, arm in enumerate(sweep.arms):
        points = [
            (value, list(summary["arms"][name]["final"][metric]["values"].values()))
            for value, name in zip(sweep.values, _swept(sweep, arm, summary), strict=True)
            if metric in summary["arms"][name]["final"]
        ]
        if points:
            values = 100 * np.array([x for _, x in points]).T
            _line(axes, index, arm, np.array([v for v, _ in points]), values, arms=len(sweep.arms))
    if metric in summary["baselines"]:
        level = 100 * summary["baselines"][metric]
        axes.axhline(level, color="0.5", linestyle=":", linewidth=1, label="majority class")
    _legend(axes)
    return figure


def shown_rates(summary: Mapping[str, Any]) -> list[str]:
    """Return the tasks that have both an error and a rate in every arm."""
    tasks = [m.removeprefix("error/") for m in shown_metrics(summary) if m.startswith("error/")]
    finals = [arm["final"] for arm in summary["arms"].values()]
    return [task for task in tasks if all(f"{q}/{task}" in final for final in finals for q in ("error", "rate"))]


def against_rate(summary: Mapping[str, Any], sweep: Sweep | None, task: str) -> Figure:
    """Draw every arm's final error in percent against the rate that it takes: one marker a seed.

    Of a sweep, a line joins the means over seeds in the order of the sweep's values.
    """
    figure, axes = _axes(f"rate of {task} (nats)", _label(f"error/{task}"))
    arms = list(summary["arms"]) if sweep is None else sweep.arms
    for index, arm in enumerate(arms):
        names = [arm] if sweep is None else _swept(sweep, arm, summary)
        rates, errors = ([summary["arms"][name]["final"][f"{q}/{task}"] for name in names] for q in ("rate", "error"))
        x, y = (np.array([v for entry in found for v in entry["values"].values()]) for found in (rates, errors))
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        axes.plot(x, 100 * y, color=colour, marker=marker, linestyle="none", label=arm)
        axes.plot([entry["mean"] for entry in rates], [100 * entry["mean"] for entry in errors], color=colour)
    _legend(axes)
    return figure


def _swept(sweep: Sweep, arm: str, summary: Mapping[str, Any]) -> list[str]:
    """Return an arm's names in the order of the sweep's values."""
    return [name for name in summary["arms"] if name.rpartition("@")[0] == arm][: len(sweep.values)]


def test_snrs(summary: Mapping[str, Any]) -> dict[float, str]:
    """Return the metrics ``accuracy-at-<snr>dB/<over>`` by SNR in dB, in rising order.

    A learner tests at further SNRs over one thing only: its own classes, or the average over its tasks.
    """
    names = {metric for arm in summary["arms"].values() for metric in arm["final"]}
    pattern = re.compile(r"accuracy-at-(.+)dB/(average|own-classes)")
    return dict(sorted((float(m[1]), m[0]) for name in names if (m := pattern.fullmatch(name))))


def against_test_snr(summary: Mapping[str, Any]) -> Figure:
    """Draw the accuracy in percent of models that were trained at one SNR against the SNR that they are tested at."""
    metrics = test_snrs(summary)
    over = next(iter(metrics.values())).partition("/")[2]
    figure, axes = _axes("test SNR (dB)", _label(f"accuracy/{over}"))
    for index, (name, arm) in enumerate(summary["arms"].items()):
        points = {snr: arm["final"][m]["values"].values() for snr, m in metrics.items() if m in arm["final"]}
        if points:
            values = 100 * np.array([list(v) for v in points.values()]).T
            _line(axes, index, name, np.array(list(points)), values, arms=len(summary["arms"]))
    _legend(axes)
    return figure


def similarity_map(summary: Mapping[str, Any], scenario: Scenario) -> Figure:
    """Draw the similarity matrix with the threshold and the clusters that it makes."""
    matrix = np.array(summary["similarity"])
    names = [client.name for client in scenario.clients]
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


def _clusters_by_similarity(summary: Mapping[str, Any], scenario: Scenario) -> list[list[int]] | None:
    for arm, clusters in summary["clusters"].items():
        if getattr(scenario.arm(arm).strategy.settings, "clusters", None) == "similarity":
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


def _label(metric: str) -> str:
    quantity, _, task = metric.partition("/")
    return f"average {quantity} (%)" if task == "average" else f"{quantity} of {task} (%)"


def _line(axes: Axes, index: int, label: str, x: np.ndarray, values: np.ndarray, *, arms: int) -> None:
    """Draw an arm: the mean over seeds and, unless there are many arms, one standard deviation as a band."""
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    mean = values.mean(axis=0)
    axes.plot(x, mean, color=colour, marker=marker if len(x) <= 40 else None, label=label)
    if len(values) > 1 and arms <= FEW:
        sd = values.std(axis=0, ddof=1)
        axes.fill_between(x, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
