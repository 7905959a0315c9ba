"""How arms stand to the best one, as marks in a table, and what these mean in words."""

from collections.abc import Iterable, Mapping
from typing import Any

BEST, ALIKE, UNTESTED = "*", "≈", "?"


def marks(summary: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return how the arms stand to the best one in a metric, for every point of a sweep; nothing if that is unknown."""
    found: dict[str, str] = {}
    for group in summary["comparisons"].get(name, ()):
        found |= {group["reference"]: BEST if group["chosen"] == "best" else " "}
        found |= dict.fromkeys(group["indistinguishable"], ALIKE)
        found |= dict.fromkeys(group["untested"], UNTESTED)
    return found


def legend(summary: Mapping[str, Any], names: Iterable[str], best: str = BEST) -> str:
    """Explain the marks of some metrics in a table; empty if there are none.

    Parameters
    ----------
    summary : mapping
    names : iterable of str
        Metrics as they are recorded.
    best : str
        How the best arm is marked.
    """
    names = list(names)
    groups = [group for name in names for group in summary["comparisons"].get(name, ())]
    used = {mark for name in names for mark in marks(summary, name).values()}
    lines, it = list[str](), "it"
    if BEST in used:
        lines.append(f"{best} best mean{' at a point of the sweep' if any(group['point'] for group in groups) else ''}")
    else:
        it = " or ".join(dict.fromkeys(group["reference"] for group in groups))
    if ALIKE in used:
        lines.append(f"{ALIKE} not distinguishable from {it} (p ≥ 0.05)")
    if UNTESTED in used:
        reasons = dict.fromkeys(group["arms"][arm]["t"]["reason"] for group in groups for arm in group["untested"])
        lines.append(f"{UNTESTED} not tested: {'; '.join(reasons)}")
    families = dict.fromkeys(group["family"] for group in groups if len(group["untested"]) < len(group["arms"]))
    if families:
        lines.append(f"paired t-test over seeds, Holm's correction over {'; '.join(families)}")
    return "; ".join(lines) if groups else ""


def seeds_of(summary: Mapping[str, Any]) -> int:
    """Return over how many seeds the arms are averaged, at most."""
    return max((len(entry["values"]) for arm in summary["arms"].values() for entry in arm["final"].values()), default=0)


def over_seeds(summary: Mapping[str, Any]) -> str:
    """Say what is told of how many seeds."""
    seeds = seeds_of(summary)
    return f"mean ± 95 % interval, n = {seeds} seeds" if seeds > 1 else f"{seeds} seed{'s' * (seeds != 1)}"
