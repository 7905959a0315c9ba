"""From the history of a run to its figures of merit: pure functions over records and the declarations of metrics."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semfed.errors import RunFolderError
from semfed.events import strict_json
from semfed.events.metrics import WHOLE, Metric, Metrics
from semfed.events.records import Record
from semfed.runs import folder as folders
from semfed.runs.comparisons import compared
from semfed.runs.reaching import reached
from semfed.runs.statistics import mean_of, spread
from semfed.scenario import Point, Sweep, read, validate

Curves = dict[str, dict[str, dict[int, dict[int, float]]]]
"""arm -> metric -> seed -> round -> value"""


def curves(records: Iterable[Record], metrics: Metrics) -> Curves:
    """Combine the clients that have a metric as it declares; what has no value over several clients is left out.

    Parameters
    ----------
    records : iterable of Record
    metrics : Metrics

    Returns
    -------
    dict
        arm -> metric -> seed -> round -> value, in the order of the records.
    """
    sums: defaultdict[tuple[str, str, int, int], float] = defaultdict(float)
    counts: Counter[tuple[str, str, int, int]] = Counter()
    for record in records:
        key = record.arm, record.metric, record.seed, record.round
        sums[key] += metrics.of(record.metric).summand(record.value)
        counts[key] += 1
    combined: Curves = {}
    for (arm, name, seed, round_), total in sums.items():
        metric, count = metrics.of(name), counts[arm, name, seed, round_]
        if count == 1 or metric.over_clients != "none":
            value = metric.combined(total, count)
            combined.setdefault(arm, {}).setdefault(name, {}).setdefault(seed, {})[round_] = value
    return combined


def summarise(
    scenario: str,
    arms: Sequence[str],
    records: Iterable[Record],
    outcomes: Sequence[Mapping[str, Any]],
    *,
    metrics: Metrics,
    headline: str,
    error: str | None = None,
    seeds: Iterable[int] = (),
    points: Mapping[str, Point] | None = None,
) -> dict[str, Any]:
    """Return the content of ``summary.json``.

    ``final`` holds, for every metric, its value in the last round, or the total over the run if it adds up over
    rounds; ``round_mean`` its mean over the rounds from 1 on. Both are described by `spread`, with ``n``, the number of
    seeds, and ``missing``, those that have no value; over rounds and seeds, dB are averaged as they are. ``best`` is
    the arm with the best mean of the headline at the end, None if that has no direction; it says nothing of how sure
    this is. ``comparisons`` do, for every score and for every point of a sweep; see
    `semfed.runs.comparisons.compared`. ``reach`` tells what it takes to come near the best arm's headline; see
    `semfed.runs.reaching.reached`. With a validation split an arm has ``best_round``, by seed the round that was the
    best there and the last one, and ``at_best_round``, all metrics, those of the test too, in that round.
    ``clusters``, ``similarity`` and ``threshold`` are those of the first seed; ``by_seed`` has the others where they
    differ.

    Parameters
    ----------
    scenario : str
        Its name.
    arms : sequence of str
        Their order.
    records : iterable of Record
    outcomes : sequence of mapping
        Lines of ``outcomes.jsonl``.
    metrics : Metrics
        What the metrics of the records are.
    headline : str
        The metric by which the arms are compared.
    error : str, optional
        What ended the run early.
    seeds : iterable of int
        Those that should be there; those of any arm always should.
    points : mapping of str to Point, optional
        What the arms of a sweep are; see `semfed.scenario.Sweep.points`.
    """
    by_arm = curves(records, metrics)
    planned = set(seeds).union(*(told for arm in by_arm.values() for told in arm.values()))
    summary: dict[str, Any] = {"scenario": scenario, "headline": headline, "complete": error is None, "arms": {}}
    if error is not None:
        summary["error"] = error
    validated: dict[str, list[Mapping[str, Any]]] = {}
    for outcome in outcomes:
        if outcome.get("best_round"):
            validated.setdefault(outcome["arm"], []).append(outcome)
    for arm in arms:
        final, means = dict[str, Any](), dict[str, Any]()
        for name, seeds in by_arm.get(arm, {}).items():
            adds_up = metrics.of(name).over_rounds == "sum"
            last, average = {}, {}
            for seed, rounds in seeds.items():
                last[seed] = sum(rounds.values()) if adds_up else rounds[max(rounds)]
                trained = [value for round_, value in rounds.items() if round_ > 0]
                if trained:
                    average[seed] = mean_of(trained)
            for kind, values in ((final, last), (means, average)):
                if values:
                    kind[name] = spread(values) | {"n": len(values), "missing": sorted(planned - values.keys())}
        summary["arms"][arm] = {"final": final, "round_mean": means}
        if arm in validated:
            summary["arms"][arm] |= _at_best_round(by_arm.get(arm, {}), validated[arm], metrics)
    summary["best"] = best_arm(summary, metrics.of(headline), headline)
    scores = dict.fromkeys(name for arm in summary["arms"].values() for name in arm["final"])
    summary["comparisons"] = {
        name: compared(summary["arms"], points or {}, metrics.of(name), name)
        for name in scores
        if metrics.of(name).role == "score" or name == headline
    }
    summary["reach"] = reached(summary["arms"], points or {}, by_arm, metrics.of(headline), headline)
    summary["baselines"] = dict(outcomes[0]["baselines"]) if outcomes else {}
    summary["clusters"] = {}
    for key in ("similarity", "threshold"):
        summary[key] = next((o["details"][key] for o in outcomes if o["details"].get(key) is not None), None)
    differing: dict[str, Any] = {}
    for outcome in outcomes:
        found = outcome["details"].get("clusters")
        if found is not None and summary["clusters"].setdefault(outcome["arm"], found) != found:
            differing.setdefault(outcome["arm"], {})[str(outcome["seed"])] = found
    if differing:
        summary["by_seed"] = {"clusters": differing}
    return summary


def swept(tree: Mapping[str, Any]) -> dict[str, Point]:
    """Return what the arms of a scenario's tables are, by their names; nothing without a sweep."""
    return Sweep.model_validate(tree["sweep"]).points() if "sweep" in tree else {}


def _at_best_round(
    of_arm: Mapping[str, Mapping[int, Mapping[int, float]]], outcomes: Sequence[Mapping[str, Any]], metrics: Metrics
) -> dict[str, Any]:
    """Describe what an arm measured in the rounds that its validation splits chose, seed by seed."""
    chosen = {outcome["seed"]: outcome["best_round"] for outcome in outcomes}
    told = {
        "metric": next(iter(chosen.values()))["metric"],
        "rounds": {str(seed): best["round"] for seed, best in chosen.items()},
        "last": {
            str(seed): max((max(each[seed]) for each in of_arm.values() if seed in each), default=0) for seed in chosen
        },
        "stopped": [seed for seed, best in chosen.items() if best["stopped"]],
    }
    found = {
        name: {
            seed: seeds[seed][best["round"]] for seed, best in chosen.items() if best["round"] in seeds.get(seed, {})
        }
        for name, seeds in of_arm.items()
        if metrics.of(name).over_rounds != "sum"
    }
    return {"best_round": told, "at_best_round": {name: spread(values) for name, values in found.items() if values}}


def of_folder(folder: Path, error: str | None = None) -> dict[str, Any]:
    """Sum up the history that a run folder holds, whichever version of this package began it; see `summarise`.

    Raises
    ------
    RunFolderError
        If there is no history, or a damaged one.
    """
    tree = read(folder / folders.SCENARIO)
    arms = [arm["name"] for arm in tree.get("arms", ())] or [tree["name"]]
    headline = tree.get("headline") or validate(tree).headline  # runs did not always keep it
    records, metrics = folders.each_record(folder), folders.read_metrics(folder)
    try:
        outcomes = [strict_json.loads(line) for line in folders.each_line(folder / folders.OUTCOMES)]
        told: dict[str, Any] = {"headline": headline, "seeds": tree.get("seeds", ()), "points": swept(tree)}
        return summarise(tree["name"], arms, records, outcomes, metrics=metrics, error=error, **told)
    except (ValueError, TypeError, KeyError, AttributeError) as reason:  # whatever wrong tables and values give
        raise RunFolderError(f"'{folder}' has a damaged history ({reason!r}): repeat the run") from reason


def best_arm(summary: Mapping[str, Any], metric: Metric, name: str) -> str | None:
    """Return the arm with the best final mean of a recorded metric; see `Metric.best`."""
    arms = {arm: told["final"][name]["mean"] for arm, told in summary["arms"].items() if name in told["final"]}
    return metric.best(arms)


def names_of(summary: Mapping[str, Any], metrics: Metrics, metric: Metric) -> list[str]:
    """Return the recorded names of a metric over all arms in order, what is over all clients and the headline last."""
    names = {name for arm in summary["arms"].values() for name in arm["final"] if metrics.of(name) == metric}
    return sorted(names, key=lambda name: (name == summary["headline"], metric.part(name) in WHOLE.values(), name))


def headline_names(summary: Mapping[str, Any], metrics: Metrics) -> list[str]:
    """Return the recorded names of the headline's metric, such as all accuracies or errors."""
    return names_of(summary, metrics, metrics.of(summary["headline"]))


def other_scores(summary: Mapping[str, Any], metrics: Metrics) -> list[str]:
    """Return the recorded name over all clients, or else the last one, of every score that is not the headline's."""
    headline = metrics.of(summary["headline"])
    each = [names_of(summary, metrics, metric) for metric in metrics if metric.role == "score" and metric != headline]
    return [names[-1] for names in each if names]
