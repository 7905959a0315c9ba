"""From the history of a run to its figures of merit: pure functions over records."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semfed import strictjson
from semfed.errors import RunFolderError
from semfed.experiment import folder as folders
from semfed.experiment.statistics import mean_of, spread
from semfed.records import Record
from semfed.scenario import Scenario

Curves = dict[str, dict[str, dict[int, dict[int, float]]]]
"""arm -> metric -> seed -> round -> value"""


def curves(records: Iterable[Record]) -> Curves:
    """Combine clients: costs are summed, everything else is averaged over the clients that have it.

    Ratios in dB are averaged as ratios: two clients at 0 and 20 dB have 10 log10((1 + 100) / 2) = 17.03 dB.

    Parameters
    ----------
    records : iterable of Record

    Returns
    -------
    dict
        arm -> metric -> seed -> round -> value, in the order of the records.
    """
    sums: defaultdict[tuple[str, str, int, int], float] = defaultdict(float)
    counts: Counter[tuple[str, str, int, int]] = Counter()
    for record in records:
        key = record.arm, record.metric, record.seed, record.round
        sums[key] += 10 ** (record.value / 10) if is_decibel(record.metric) else record.value
        counts[key] += 1
    combined: Curves = {}
    for (arm, metric, seed, round_), total in sums.items():
        value = total if is_total(metric) else total / counts[arm, metric, seed, round_]
        value = 10 * math.log10(value) if is_decibel(metric) else value
        combined.setdefault(arm, {}).setdefault(metric, {}).setdefault(seed, {})[round_] = value
    return combined


def is_total(metric: str) -> bool:
    """Say whether a metric adds up over clients and rounds, as costs, failures and retries do."""
    return metric.startswith(("cost/", "failure/", "retry/"))


def is_decibel(metric: str) -> bool:
    """Say whether a metric is a ratio of powers in dB: ``snr/received-db``, also that of one receiver."""
    return metric.startswith("snr/received-db")


def summarise(
    scenario: str,
    arms: Sequence[str],
    records: Iterable[Record],
    outcomes: Sequence[Mapping[str, Any]],
    *,
    headline: str = "accuracy/average",
    error: str | None = None,
) -> dict[str, Any]:
    """Return the content of ``summary.json``.

    ``final`` holds, for every metric, its value in the last round, or the total over the run if it is a cost;
    ``round_mean`` its mean over the rounds from 1 on. Both are described by `spread`; over rounds and seeds, dB are
    averaged as they are. ``clusters``, ``similarity`` and ``threshold`` are those of the first seed; ``by_seed`` has
    the others where they differ.

    Parameters
    ----------
    scenario : str
        Its name.
    arms : sequence of str
        Their order.
    records : iterable of Record
    outcomes : sequence of mapping
        Lines of ``outcomes.jsonl``.
    headline : str
        The metric by which the arms are compared.
    error : str, optional
        What ended the run early.
    """
    by_arm = curves(records)
    summary: dict[str, Any] = {"scenario": scenario, "headline": headline, "complete": error is None, "arms": {}}
    if error is not None:
        summary["error"] = error
    for arm in arms:
        final, means = {}, {}
        for metric, seeds in by_arm.get(arm, {}).items():
            last, average = {}, {}
            for seed, rounds in seeds.items():
                last[seed] = sum(rounds.values()) if is_total(metric) else rounds[max(rounds)]
                trained = [value for round_, value in rounds.items() if round_ > 0]
                if trained:
                    average[seed] = mean_of(trained)
            final[metric] = spread(last)
            if average:
                means[metric] = spread(average)
        summary["arms"][arm] = {"final": final, "round_mean": means}
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


def of_folder(folder: Path, scenario: Scenario, error: str | None = None) -> dict[str, Any]:
    """Sum up the history that a run folder holds, whichever version of this package began it; see `summarise`.

    Raises
    ------
    RunFolderError
        If there is no history, or a damaged one.
    """
    records = folders.each_record(folder)
    try:
        outcomes = [strictjson.loads(line) for line in folders.each_line(folder / folders.OUTCOMES)]
        return summarise(scenario.name, scenario.arm_names, records, outcomes, headline=scenario.headline, error=error)
    except (ValueError, TypeError, KeyError, AttributeError) as reason:  # whatever wrong tables and values give
        raise RunFolderError(f"'{folder}' has a damaged history ({reason!r}): repeat the run") from reason


def metrics_of(summary: Mapping[str, Any], quantity: str) -> list[str]:
    """Return a quantity's metrics over all arms in order, the average and then the headline last."""
    names = {name for arm in summary["arms"].values() for name in arm["final"] if name.startswith(f"{quantity}/")}
    average, headline = f"{quantity}/average", summary["headline"]
    return sorted(names, key=lambda name: (name == headline, name == average, name))


def shown_metrics(summary: Mapping[str, Any]) -> list[str]:
    """Return the metrics of the headline's quantity: accuracies or errors."""
    return metrics_of(summary, summary["headline"].partition("/")[0])
