"""Results files: what a run found, small enough to be committed, with all that it takes to make it again."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from semfed.events.metrics import Metric, Metrics
from semfed.runs import folder as folders
from semfed.runs.statistics import paired, spread
from semfed.runs.summary import curves
from semfed.scenario import Point, Scenario, Sweep, read, validate

RECIPE = ("description", "command", "reference", "at_rounds", "figures")
"""What a results file asks for; the rest is made from the run."""
MADE_WITH = ("commit", "packages", "python", "cpu")
"""What a result may differ in from one made again without being another result."""


def condense(folder: Path, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a results file from a complete run.

    Parameters
    ----------
    folder : Path
        A run folder.
    recipe : mapping
        ``description`` and ``command``, and perhaps ``reference``, the arm that the others are compared with (the
        scenario's first one if unset), ``at_rounds``, further rounds whose figures are kept, and ``figures``.

    Returns
    -------
    dict
        Values by seed with mean, standard deviation and 95 % interval, of the last round or of the whole run if it is
        a cost (``final``), over rounds (``round_mean``) and in those rounds (``at_round``); ``differences`` to the
        reference, paired by seed; scenario, its hash, seeds, baselines and clusters.

    Raises
    ------
    ValueError
        If the run is not complete, or has no such reference arm.
    """
    summary = folders.read_json(folder / folders.SUMMARY)
    if not summary["complete"]:
        raise ValueError(f"'{folder}' ended early, so it is no result: {summary['error']}")
    scenario = validate(read(folder / folders.SCENARIO))
    metrics = folders.read_metrics(folder)
    found = curves(folders.each_record(folder), metrics)
    arms: dict[str, Any] = {}
    for arm, kinds in summary["arms"].items():
        arms[arm] = {
            kind: {
                name: spread(_by_seed(entry))
                for name, entry in sorted(kinds[kind].items())
                if metrics.of(name).role != "loss"
            }
            for kind in ("final", "round_mean")
        }
        if recipe.get("at_rounds"):
            arms[arm]["at_round"] = {
                str(round_): {
                    name: spread({seed: values[round_] for seed, values in seeds.items() if round_ in values})
                    for name, seeds in sorted(found[arm].items())
                    if metrics.of(name).role != "loss"
                    and metrics.of(name).over_rounds != "sum"
                    and any(round_ in values for values in seeds.values())
                }
                for round_ in recipe["at_rounds"]
            }
    told = {"clusters": summary["clusters"], "similarity": summary["similarity"], "threshold": summary["threshold"]}
    return {
        **{name: recipe[name] for name in RECIPE if recipe.get(name)},
        "scenario_sha256": scenario.digest,
        "seeds": list(scenario.seeds),
        "settings": scenario.tree(),
        "baselines": summary["baselines"],
        **{name: value for name, value in told.items() if value},
        "arms": arms,
        "differences": differences(arms, scenario, metrics, recipe.get("reference")),
    }


def differences(
    arms: Mapping[str, Any], scenario: Scenario, metrics: Metrics, reference: str | None = None
) -> dict[str, Any]:
    """Compare all arms with one, seed by seed; the arms of a sweep with the reference at the same value.

    Parameters
    ----------
    arms : mapping
        As in a results file.
    scenario : Scenario
        What was run.
    metrics : Metrics
    reference : str, optional
        An arm's name, without a sweep's value; the first arm if unset.

    Returns
    -------
    dict
        arm -> ``final`` or ``round_mean`` -> metric -> `paired`, with ``reference``; what adds up over rounds, such
        as costs, is left out.

    Raises
    ------
    ValueError
        If there is no such arm.
    """
    points = scenario.sweep.points() if scenario.sweep is not None else {name: Point(name, {}) for name in arms}
    names = [points[arm].arm for arm in arms]
    chosen = reference or names[0]
    if chosen not in names:
        raise ValueError(f"reference = {chosen!r} is no arm of the run: take one of {sorted(set(names))}")
    found: dict[str, Any] = {}
    for arm, name in zip(arms, names, strict=True):
        against = Sweep.name(chosen, points[arm].values)
        if name == chosen or against not in arms:
            continue
        found[arm] = {"reference": against}
        for kind in ("final", "round_mean"):
            ours, theirs = arms[arm][kind], arms[against][kind]
            pairs = {
                name: paired(_by_seed(ours[name]), _by_seed(theirs[name]))
                for name in ours
                if name in theirs and metrics.of(name).over_rounds != "sum"
            }
            found[arm][kind] = {name: pair for name, pair in pairs.items() if pair is not None}
    return found


def quoted(entry: Mapping[str, Any], metric: Metric) -> str:
    """Write mean and standard deviation over seeds, a fraction in percent as READMEs quote it: ``88.49 ± 3.13``."""
    mean = metric.scale * entry["mean"]
    spec = metric.spec(mean)
    return f"{mean:{spec}}" if entry["sd"] is None else f"{mean:{spec}} ± {metric.scale * entry['sd']:{spec}}"


def quoted_lead(entry: Mapping[str, Any], metric: Metric) -> str:
    """Write the reference minus the other arm with its interval, of a fraction in points: ``+1.73 [0.09, 3.37]``."""
    spec = metric.spec(metric.scale * entry["mean"])
    if entry["ci95"] is None:
        return f"{-metric.scale * entry['mean']:+{spec}} (one seed)"
    # 0 - 0 is no negative zero
    mean, high, low = (0.0 - metric.scale * number for number in (entry["mean"], *entry["ci95"]))
    return f"{mean:+{spec}} [{low:{spec}}, {high:{spec}}]"


def table(result: Mapping[str, Any], metric: Metric, name: str, kind: str = "final") -> str:
    """Write a metric of all arms as a Markdown table, with what the reference has more than each of them.

    Parameters
    ----------
    result : mapping
        Content of a results file.
    metric : Metric
    name : str
        As it is recorded, with the task or ``average``.
    kind : {"final", "round_mean"}
    """
    points = "points" if metric.fraction else metric.unit
    heading = ", ".join(filter(None, ("reference minus arm", points, "paired 95 % interval")))
    lines = [f"| arm | {metric.shown_unit or metric.words} | {heading} | reference better in |", "|---|---|---|---|"]
    for arm, kinds in result["arms"].items():
        if name not in kinds[kind]:
            continue
        told = result["differences"].get(arm, {})
        lead, words, seeds = told.get(kind, {}).get(name), "", ""
        if lead is not None:
            words = f"{told['reference']}: {quoted_lead(lead, metric)}"
            if metric.better is not None:
                ahead = sum(
                    metric.best({"arm": value, "reference": 0.0}) == "reference" for value in lead["values"].values()
                )
                seeds = f"{ahead} of {len(lead['values'])}"
        lines.append(f"| {arm} | {quoted(kinds[kind][name], metric)} | {words} | {seeds} |")
    return "\n".join(lines)


def deviations(committed: Mapping[str, Any], made: Mapping[str, Any]) -> Iterator[str]:
    """Say what differs between a committed result and the same one made again, other than what it was made with.

    Parameters
    ----------
    committed, made : mapping
        Contents of results files.

    Yields
    ------
    str
        ``<path>: <committed> is now <made>``.
    """
    for name in dict.fromkeys((*committed, *made)):
        if name not in MADE_WITH:
            yield from _deviations(name, committed.get(name), made.get(name))


def _deviations(path: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys((*one, *other)):
            yield from _deviations(f"{path}.{key}", one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from _deviations(f"{path}[{index}]", *pair)
    elif one != other:
        yield f"{path}: {one} is now {other}"


def _by_seed(entry: Mapping[str, Any]) -> dict[int, float]:
    return {int(seed): value for seed, value in entry["values"].items()}
