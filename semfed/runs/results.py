"""Results files: what a run found, small enough to be committed, with all that it takes to make it again."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from semfed.runs import folder as folders
from semfed.runs.statistics import paired, spread
from semfed.runs.summary import curves, is_total
from semfed.scenario import Scenario, read, validate

LEFT_OUT = ("loss/", "train_loss/")
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
    found = curves(folders.each_record(folder))
    arms: dict[str, Any] = {}
    for arm, kinds in summary["arms"].items():
        arms[arm] = {
            kind: {metric: entry for metric, entry in sorted(kinds[kind].items()) if _kept(metric)}
            for kind in ("final", "round_mean")
        }
        if recipe.get("at_rounds"):
            arms[arm]["at_round"] = {
                str(round_): {
                    metric: spread({seed: values[round_] for seed, values in seeds.items() if round_ in values})
                    for metric, seeds in sorted(found[arm].items())
                    if _kept(metric) and not is_total(metric) and any(round_ in values for values in seeds.values())
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
        "differences": differences(arms, scenario, recipe.get("reference")),
    }


def differences(arms: Mapping[str, Any], scenario: Scenario, reference: str | None = None) -> dict[str, Any]:
    """Compare all arms with one, seed by seed; the arms of a sweep with the reference at the same value.

    Parameters
    ----------
    arms : mapping
        As in a results file.
    scenario : Scenario
        What was run.
    reference : str, optional
        An arm's name, without a sweep's value; the first arm if unset.

    Returns
    -------
    dict
        arm -> ``final`` or ``round_mean`` -> metric -> `paired`, with ``reference``; costs are left out.

    Raises
    ------
    ValueError
        If there is no such arm.
    """
    swept = scenario.sweep is not None
    names = [name.rpartition("@")[0] if swept else name for name in arms]
    chosen = reference or names[0]
    if chosen not in names:
        raise ValueError(f"reference = {chosen!r} is no arm of the run: take one of {sorted(set(names))}")
    found: dict[str, Any] = {}
    for arm, name in zip(arms, names, strict=True):
        against = f"{chosen}@{arm.rpartition('@')[2]}" if swept else chosen
        if name == chosen or against not in arms:
            continue
        found[arm] = {"reference": against}
        for kind in ("final", "round_mean"):
            ours, theirs = arms[arm][kind], arms[against][kind]
            pairs = {
                metric: paired(_by_seed(ours[metric]), _by_seed(theirs[metric]))
                for metric in ours
                if metric in theirs and not is_total(metric)
            }
            found[arm][kind] = {metric: pair for metric, pair in pairs.items() if pair is not None}
    return found


def quoted(entry: Mapping[str, Any]) -> str:
    """Write a fraction as READMEs quote it: ``88.49 ± 3.13``, in percent, mean and standard deviation over seeds."""
    mean = f"{100 * entry['mean']:.2f}"
    return mean if entry["sd"] is None else f"{mean} ± {100 * entry['sd']:.2f}"


def quoted_lead(entry: Mapping[str, Any]) -> str:
    """Write by how much the reference is above the other arm: ``+1.73 [0.09, 3.37]``, in points, with its interval."""
    if entry["ci95"] is None:
        return f"{-100 * entry['mean']:+.2f} (one seed)"
    mean, high, low = (0.0 - 100 * number for number in (entry["mean"], *entry["ci95"]))  # 0 - 0 is no negative zero
    return f"{mean:+.2f} [{low:.2f}, {high:.2f}]"


def table(result: Mapping[str, Any], metric: str, kind: str = "final") -> str:
    """Write a fraction of all arms as a Markdown table, with the lead of the reference over each of them.

    Parameters
    ----------
    result : mapping
        Content of a results file.
    metric : str
    kind : {"final", "round_mean"}
    """
    lines = ["| arm | % | lead of the reference, points, paired 95 % interval | in seeds |", "|---|---|---|---|"]
    for arm, kinds in result["arms"].items():
        if metric not in kinds[kind]:
            continue
        told = result["differences"].get(arm, {})
        lead, words, seeds = told.get(kind, {}).get(metric), "", ""
        if lead is not None:
            ahead = sum(value < 0 for value in lead["values"].values())
            words, seeds = f"{told['reference']}: {quoted_lead(lead)}", f"{ahead} of {len(lead['values'])}"
        lines.append(f"| {arm} | {quoted(kinds[kind][metric])} | {words} | {seeds} |")
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


def _kept(metric: str) -> bool:
    return not metric.startswith(LEFT_OUT)
