"""From raw measurements to the figures of ``engines.json``: pure functions, no clock.

Raw measurements are lists by section; every entry says which implementation it is of. A figure is a median over
repetitions, and a ratio one of two such medians from the same section, which took turns in one run.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Raw = Mapping[str, Sequence[Mapping[str, Any]]]

RATIOS = {
    "inprocess_to_plain": ("inprocess", "plain-1"),
    "ray2_to_plain": ("ray-2", "plain-1"),
    "inprocess_to_pfl": ("inprocess", "pfl"),
    "ray2_to_flower": ("ray-2", "flower"),
}
EXCHANGES = {"inprocess_per_s": "inprocess", "ray_per_s": "ray-2", "flower_per_s": "flower"}
FEW, MANY = 100, 10_000


def medians(entries: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float]) -> dict[str, float]:
    """Return the median of a value over repetitions, by implementation, in the order in which they appear."""
    found: dict[str, list[float]] = {}
    for entry in entries:
        found.setdefault(entry["implementation"], []).append(value(entry))
    return {name: statistics.median(values) for name, values in found.items()}


def round_seconds(entry: Mapping[str, Any]) -> float:
    """Return a run's median round; the first one, in which actors start and caches fill, is left out."""
    rounds = entry["round_s"]
    return statistics.median(rounds[1:] or rounds)


def ratio(numbers: Mapping[Any, float], one: Any, other: Any) -> float | None:
    """Return one number over another, None where either was not measured."""
    if one not in numbers or other not in numbers:
        return None
    return _rounded(numbers[one] / numbers[other])


def summarise(raw: Raw) -> dict[str, Any]:
    """Return every figure that the raw measurements give."""
    summary: dict[str, Any] = {}
    for name in ("W1", "W2"):
        if raw.get(name):
            summary[name] = _workload(raw[name], raw.get(f"memory {name}", ()))
    if raw.get("W2"):
        summary["accuracy_W2"] = medians(raw["W2"], lambda entry: entry["accuracy"])
    if raw.get("W3"):
        rates = medians(raw["W3"], lambda entry: entry["per_s"])
        within = [entry for entry in raw["W3"] if "federation_per_s" in entry]
        told: dict[str, Any] = {key: rates.get(name) for key, name in EXCHANGES.items()}
        told["per_s"] = rates
        told["federation_per_s"] = medians(within, lambda entry: entry["federation_per_s"])
        summary["W3"] = told
    for section in ("scale", "scale-averaged"):
        if raw.get(section):
            summary[section] = _scale(raw[section])
    if raw.get("startup"):
        times = medians(raw["startup"], lambda entry: entry["first_round_s"])
        summary["startup_s"] = {name: round(value, 2) for name, value in times.items()}
    if raw.get("scenarios"):
        summary["scenarios"] = {
            name: {
                engine: _rounded(value)
                for engine, value in medians([e for e in raw["scenarios"] if e["scenario"] == name], _one).items()
            }
            for name in dict.fromkeys(entry["scenario"] for entry in raw["scenarios"])
        }
    return summary


def _scale(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seconds, memory = (
        {clients: statistics.median(entry[key] for entry in entries if entry["clients"] == clients)
         for clients in sorted({entry["clients"] for entry in entries})}
        for key in ("seconds_per_client", "peak_rss_mb")
    )  # fmt: skip
    most = max(seconds)
    return {
        f"seconds_per_client_{most}_to_{FEW}": ratio(seconds, most, FEW),
        f"peak_memory_{most}_to_{FEW}": ratio(memory, most, FEW),
        "seconds_per_client": {str(k): _rounded(v) for k, v in seconds.items()},
        "peak_rss_mb": {str(k): round(v) for k, v in memory.items()},
    }


def _one(entry: Mapping[str, Any]) -> float:
    return float(entry["round_s"])


def _workload(entries: Sequence[Mapping[str, Any]], memory: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seconds = medians(entries, round_seconds)
    told: dict[str, Any] = {key: ratio(seconds, one, other) for key, (one, other) in RATIOS.items()}
    told["seconds_per_round"] = {name: _rounded(value) for name, value in seconds.items()}
    told["to_plain"] = {name: ratio(seconds, name, "plain-1") for name in seconds}
    told["process_s"] = medians(entries, lambda entry: entry["process_s"])
    told["load"] = medians(entries, lambda entry: entry["load"])
    told["repetitions"] = max(sum(e["implementation"] == name for e in entries) for name in seconds)
    if memory:
        told["peak_pss_mb"] = {k: round(v) for k, v in medians(memory, lambda entry: entry["peak_pss_mb"]).items()}
    return told


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
