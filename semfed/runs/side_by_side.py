"""Arms of several runs beside each other: their values, paired by seed, and the settings that they differ in."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semfed.errors import RunFolderError
from semfed.events.metrics import Metric, Metrics
from semfed.runs import folder as folders
from semfed.runs.arm_settings import settings_of
from semfed.runs.comparisons import compared
from semfed.runs.reaching import reach
from semfed.runs.summary import Curves, curves, of_folder, swept
from semfed.scenario import Point, read
from semfed.scenario.settings import suggest


@dataclass(frozen=True)
class SideBySide:
    """Arms of one run or of several.

    Attributes
    ----------
    summary : dict
        As of one run, with ``arms``, ``headline`` and ``comparisons``; arms of several runs are called
        ``<run>/<arm>``.
    metrics : Metrics
    points : dict of str to Point
        Of the arms of sweeps.
    settings : dict of str to dict of str to object
        By arm: the values of all settings, by their dotted names.
    """

    summary: dict[str, Any]
    metrics: Metrics
    points: dict[str, Point]
    settings: dict[str, dict[str, Any]]


def told_by(folder: Path) -> dict[str, Any]:
    """Return the summary of a run: the one in its folder, or one of its history if that is none of this version.

    Raises
    ------
    RunFolderError
        If it is no run folder, or a damaged one.
    """
    if not os.path.isfile(folder / folders.SCENARIO):
        raise RunFolderError(f"'{folder}' is not a run folder: it holds no {folders.SCENARIO}")
    summary = folders.read_json(folder / folders.SUMMARY) if os.path.isfile(folder / folders.SUMMARY) else {}
    if "comparisons" in summary:
        return summary
    return of_folder(folder, None if summary.get("complete") else summary.get("error", "the run has not ended"))


def gather(
    runs: Sequence[Path],
    *,
    metric: str | None = None,
    reference: str | None = None,
    target: float | None = None,
) -> SideBySide:
    """Put the arms of runs beside each other and compare them.

    Parameters
    ----------
    runs : sequence of Path
        Run folders.
    metric : str, optional
        As it is recorded; the first run's headline by default.
    reference : str, optional
        The arm that the others are compared with, without a sweep's values; the best one by default.
    target : float, optional
        A value of the metric: then the summary's ``reach`` tells what the arms take to reach it.

    Raises
    ------
    RunFolderError
        If one is no run folder, stands there twice, or has no such metric or arm; if a metric without direction has a
        target.
    ScenarioError
        If two runs mean different things by one name of a metric.
    """
    twice = [path for path, times in Counter(path.resolve() for path in runs).items() if times > 1]
    if twice:
        raise RunFolderError(f"'{twice[0]}' stands there twice; give every run once")
    labels = _labels(runs)
    arms, points, settings = dict[str, Any](), dict[str, Point](), dict[str, dict[str, Any]]()
    headline, names, declared, by_arm = metric, list[str](), list[Metric](), Curves()
    for run, label in zip(runs, labels, strict=True):
        summary, tree, metrics = told_by(run), read(run / folders.SCENARIO), folders.read_metrics(run)
        headline = headline or summary["headline"]
        found = {name for arm in summary["arms"].values() for name in arm["final"]}
        if headline not in found:
            raise RunFolderError(f"run '{run}' has no metric {headline!r}; {suggest(headline, sorted(found))}")
        defaults = folders.read_defaults(run)
        of_sweep, changes = swept(tree), {arm["name"]: arm for arm in tree.get("arms", ())}
        declared += metrics
        history = curves(folders.each_record(run), metrics) if target is not None else {}
        for arm, kinds in summary["arms"].items():
            point, called = of_sweep.get(arm, Point(arm, {})), f"{label}{arm}"
            arms[called], points[called] = kinds, Point(f"{label}{point.arm}", point.values)
            settings[called] = settings_of(tree, changes.get(arm, {})) | defaults.get(arm, {})
            by_arm[called] = history.get(arm, {})
        names.append(summary["scenario"])
    assert headline is not None  # there is a run at least
    told, known = Metrics(declared), [point.arm for point in points.values()]
    if reference is not None and reference not in known:
        raise RunFolderError(f"reference = {reference!r} is no arm here; {suggest(reference, dict.fromkeys(known))}")
    together: dict[str, Any] = {"scenario": ", ".join(dict.fromkeys(names)), "headline": headline, "arms": arms}
    quantity = told.of(headline)
    together["comparisons"] = {headline: compared(arms, points, quantity, headline, reference=reference)}
    if target is not None:
        if quantity.better is None:
            raise RunFolderError(f"target = {target:g}: metric {headline!r} has no direction, so nothing reaches it")
        each = {arm: reach(by_arm[arm], quantity, headline, target) for arm in arms}
        together["reach"] = [{"target": target, "arms": each}]
    return SideBySide(together, told, points, settings)


def differing(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, list[tuple[Any, list[str]]]]:
    """Return the settings in which arms differ: every value, None where there is none, and the arms that have it.

    Parameters
    ----------
    settings : mapping
        By arm: the values of settings, by their names.
    """
    found = {}
    for name in dict.fromkeys(name for told in settings.values() for name in told):
        values: dict[str, tuple[Any, list[str]]] = {}
        for arm, told in settings.items():
            value = told.get(name)
            values.setdefault(repr(value), (value, []))[1].append(arm)
        if len(values) > 1:
            found[name] = list(values.values())
    return found


def _labels(runs: Iterable[Path]) -> list[str]:
    """Return what stands before the arms of each run: nothing if there is one alone."""
    paths = [path.resolve() for path in runs]
    if len(paths) == 1:
        return [""]
    unique = len({path.name for path in paths}) == len(paths)
    return [f"{path.name if unique else path}/" for path in paths]
