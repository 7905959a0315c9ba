"""The figures of a run, drawn from its folder only."""

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from semfed.errors import RunFolderError
from semfed.events.metrics import BYTES, CHANNEL_USES, COSTS, NUMBER, Metrics
from semfed.report import convergence
from semfed.report.feature_map import feature_map, features_of
from semfed.report.lines import (
    Sweeping,
    against_cost,
    against_metric,
    against_number,
    against_round,
    against_setting,
    both,
    family,
)
from semfed.report.similarity import similarity_map
from semfed.report.style import METADATA, STYLE
from semfed.runs import folder as folders
from semfed.runs.summary import Curves, curves, headline_names, names_of, of_folder
from semfed.scenario import Task, read

Makers = dict[str, Callable[[], Figure]]
"""What makes figures, by their names."""
DRAWN = ("score", "loss", "signal", "detail")
"""Roles of metrics with a figure of their own; costs are an axis, baselines a line, and convergence has logarithms."""
SPENT = (
    ("bytes", "megabytes exchanged, both directions", BYTES, 1e-6),
    ("channel-uses", "channel uses (millions)", CHANNEL_USES, 1e-6),
)
"""What a scheme spends: in the name of the file, on the axis, which costs make it up, and their scale."""


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
                figure = made(make)
                for kind in ("png", "pdf"):
                    figure.savefig(path.with_suffix(f".{kind}"), metadata=METADATA[kind])
            except Exception as error:
                logging.getLogger(__name__).warning("figure '%s' is left out: %s", path, error, exc_info=error)
            else:
                drawn.append(path)
    return drawn


def made(make: Callable[[], Figure]) -> Figure:
    """Make a figure and lay it out, once for all formats."""
    figure = make()
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def figures(folder: Path) -> Makers:
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


def _figures(folder: Path, scenario: Mapping[str, Any]) -> Makers:
    metrics = folders.read_metrics(folder)
    summary = of_folder(folder)
    sweeping = Sweeping.of(summary, scenario, folders.read_labels(folder))
    by_arm = {} if sweeping.labels else curves(folders.each_record(folder), metrics)
    found = _of_sweep(sweeping, metrics) if sweeping.labels else _of_rounds(by_arm, summary, metrics)
    for metric in metrics:
        members = family(summary, metrics, metric)
        if members:
            against = f"-vs-{slug(metric.against)}" if metric.against else ""
            found[f"{slug(metric.words)}{against}"] = partial(against_number, sweeping, metric, members)
        for part in both(summary, metrics, metric):
            price = metrics.of(metric.against)
            file = f"{metric.name}-{part}-vs-{metric.against}"
            found[file] = partial(against_metric, sweeping, metric, price, part)
    if not sweeping.labels:
        symbols = Task.model_validate(scenario["tasks"][scenario["clients"][0]["task"]]).symbols
        shown = features_of(folder, list(summary["arms"]), scenario["seeds"][0])
        if shown:
            found["received-features"] = partial(feature_map, shown, symbols)
        for name in convergence.measured(by_arm, metrics):
            file, metric = name.replace("/", "-"), metrics.of(name)
            found[file] = partial(against_round, by_arm, metric, name, {}, log=True)
    if len(summary.get("similarity") or ()) > 1:  # one client is like itself
        found["similarity"] = partial(similarity_map, summary, scenario)
    return found


def shown_names(summary: Mapping[str, Any], metrics: Metrics) -> list[str]:
    """Return the recorded names that get figures: all of the headline's metric, and of every other one the whole."""
    headline = metrics.of(summary["headline"])
    names = headline_names(summary, metrics)
    for metric in metrics:
        own = names_of(summary, metrics, metric)
        drawn = metric.role in DRAWN and NUMBER not in metric.name and metric not in COSTS
        if own and metric != headline and drawn:
            names.append(own[-1])
    return names


def _of_rounds(by_arm: Curves, summary: Mapping[str, Any], metrics: Metrics) -> Makers:
    """Return figures of curves: over the rounds, and of the headline over what has been spent."""
    found: Makers = {}
    for name in shown_names(summary, metrics):
        metric, file = metrics.of(name), name.replace("/", "-")
        found[f"{file}-vs-round"] = partial(against_round, by_arm, metric, name, summary["baselines"])
    name = summary["headline"]
    for file, x, costs, scale in SPENT:
        if any(arm["final"].get(cost.name, {}).get("mean") for arm in summary["arms"].values() for cost in costs):
            make = partial(against_cost, by_arm, metrics.of(name), name, costs, x, scale)
            found[f"{name.replace('/', '-')}-vs-{file}"] = make
    return found


def _of_sweep(sweeping: Sweeping, metrics: Metrics) -> Makers:
    """Return figures of final values over every swept setting."""
    return {
        f"{name.replace('/', '-')}-vs-{setting}": partial(against_setting, sweeping, setting, metrics.of(name), name)
        for name in shown_names(sweeping.summary, metrics)
        for setting in sweeping.labels
    }


def slug(axis: str) -> str:
    """Return the label of an axis as a part of a file's name.

    Examples
    --------
    >>> slug("test SNR (dB)")
    'test-snr'
    """
    return axis.partition(" (")[0].lower().replace(" ", "-")
