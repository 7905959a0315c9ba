"""What ``semfed compare`` prints: arms against one of them, paired by seed, and the settings that they differ in."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from semfed.events.metrics import Metric
from semfed.report.tables import reach_table
from semfed.runs.arm_table import written
from semfed.runs.comparisons import TESTS
from semfed.runs.marks import legend, marks
from semfed.runs.side_by_side import SideBySide, differing
from semfed.runs.statistics import EQUAL

SHOWN = 4
"""Arms that are named where they share a value; of more there is the number."""

UNSAID = "-: the scenario does not say; a part named by an arm has its own default then, if it has such a setting"


def show(found: SideBySide, console: Console) -> None:
    """Print a table for every point of a sweep, what the marks mean, and the settings."""
    headline = found.summary["headline"]
    metric, groups = found.metrics.of(headline), found.summary["comparisons"][headline]
    for group in groups:
        console.print(paired_table(found.summary, group, metric, headline))
    if groups:
        console.print(Text(explained(found.summary, groups, metric, headline), style="dim"))
    else:
        console.print(f"nothing to compare: {nothing(found.summary, metric, headline)}")
    if "reach" in found.summary:
        console.print(reach_table(found.summary, found.metrics, found.summary["reach"]))
    settings = settings_table(found.settings)
    if settings is not None:
        console.print(settings)
        console.print(Text(UNSAID, style="dim"))


def paired_table(summary: Mapping[str, Any], group: Mapping[str, Any], metric: Metric, name: str) -> Table:
    """Return the arms of a point: mean, difference to the reference, in how many seeds it is better, and p-values."""
    reference, standing = group["reference"], marks(summary, name)
    at = "".join(f", {setting} = {value}" for setting, value in group["point"].items())
    seeds = max(summary["arms"][arm]["final"][name]["n"] for arm in (reference, *group["arms"]))
    told = f"mean ± 95 % interval, n = {seeds} seeds" if seeds > 1 else "1 seed"
    title = f"{summary['scenario']}: {metric.label(name)} after the last round, {told}{at}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("arm", overflow="fold", min_width=8)
    sign, ahead = (-1 if metric.better == "lower" else 1), "better" if metric.better else "higher"
    for heading in ("mean", "difference", ahead, "p (t)", "p (ranks)"):
        table.add_column(heading, justify="right", overflow="fold")
    for arm in (arm for arm in summary["arms"] if arm == reference or arm in group["arms"]):
        entry = summary["arms"][arm]["final"][name]
        cells = [f"{written(entry, metric)} {standing.get(arm, ' ')}"]
        pair = group["arms"].get(arm)
        if pair is not None:
            better = sum(sign * value > 0 for value in pair.get("values", {}).values())
            cells += [_difference(pair, metric), f"{better} of {pair['n']}", *(_p(pair[t]) for t in TESTS)]
        table.add_row(
            arm if entry["n"] == seeds else f"{arm} (n = {entry['n']})",
            *cells,
            style="bold" if arm == reference else "",
        )
    return table


def explained(summary: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], metric: Metric, name: str) -> str:
    """Say what the columns and marks are, and which seeds have no partner."""
    unit = "in points" if metric.fraction else f"in {metric.unit}" if metric.unit else ""
    references = " or ".join(dict.fromkeys(group["reference"] for group in groups)) if len(groups) == 1 else "reference"
    interval = "[95 % interval of the pair alone]"
    lines = [
        ", ".join(filter(None, (f"difference: arm − {references}", "paired by seed", unit, interval))),
        "p: of the paired t-test and of Wilcoxon's signed-rank test, both after Holm's correction",
        legend(summary, [name]),
    ]
    for arm, pair in (told for group in groups for told in group["arms"].items()):
        if pair["missing"]:
            lines.append(f"{arm}: without a pair for seeds {', '.join(map(str, pair['missing']))}")
    return "\n".join([*lines, ""])


def nothing(summary: Mapping[str, Any], metric: Metric, name: str) -> str:
    """Say why arms have no comparison."""
    if metric.better is None:
        return f"{name!r} has no direction; give --reference"
    return "there is one arm"


def settings_table(settings: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """Return the settings that arms differ in, a row a value; None if there are none."""
    found = differing(settings)
    if not found:
        return None
    table = Table(title="settings that differ", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("setting", "value", "arms"):
        table.add_column(heading, overflow="fold")
    for name, values in found.items():
        for place, (value, arms) in enumerate(values):
            who = ", ".join(arms) if len(arms) <= SHOWN else f"{len(arms)} arms"
            table.add_row("" if place else name, "-" if value is None else str(value), who)
    return table


def _difference(pair: Mapping[str, Any], metric: Metric) -> str:
    if not pair["n"]:
        return "-"
    mean, *ends = (metric.scale * number for number in (pair["mean"], *(pair["ci95"] or ())))
    spec = metric.spec(mean)
    return f"{mean:+{spec}}" + (f" [{', '.join(f'{end:{spec}}' for end in ends)}]" if ends else "")


def _p(test: Mapping[str, Any]) -> str:
    """Write a corrected p; the reason for none stands below the table."""
    if test["holm"] is None:
        return "equal" if test["reason"] == EQUAL else "-"
    return f"{test['holm']:.3f}" if test["holm"] >= 0.0005 else f"{test['holm']:.0e}"
