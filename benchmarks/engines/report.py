"""Draw the chart of ``engines.json`` and write its figures into the tables of ``benchmarks/README.md``.

python report.py
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

BENCHMARKS = Path(__file__).parents[1]
RESULTS = BENCHMARKS / "results" / "engines.json"
README = BENCHMARKS / "README.md"
NAMES = {
    "plain-1": "hand-written loop",
    "plain-2": "hand-written loop, 2 processes",
    "inprocess": "semfed, inprocess",
    "inprocess-kept": "semfed, inprocess, checkpoints",
    "inprocess-cohort-4": "semfed, inprocess, cohorts of 4",
    "inprocess-cohort-32": "semfed, inprocess, cohorts of 32",
    "ray-1": "semfed, ray, 1 worker",
    "ray-2": "semfed, ray, 2 workers",
    "flower": "semfed, Flower's simulation",
    "pfl": "pfl-research",
    "direct": "arithmetic alone",
}
COLOURS = {"semfed": "#1f6f8b", "Flower": "#c98b2b", "other": "#9aa5ab"}
BARS: tuple[tuple[str, tuple[str, ...], str, float, float], ...] = (
    ("W1, `inprocess` / hand-written loop", ("W1", "inprocess_to_plain"), "<=", 1.3, 0.8),
    ("W2, `inprocess` / hand-written loop", ("W2", "inprocess_to_plain"), "<=", 1.3, 0.8),
    ("W1, `ray` with 2 workers / hand-written loop", ("W1", "ray2_to_plain"), "<=", 0.75, 0.5),
    ("W2, `ray` with 2 workers / hand-written loop", ("W2", "ray2_to_plain"), "<=", 0.75, 0.5),
    ("W2, `ray` with 2 workers / Flower's simulation", ("W2", "ray2_to_flower"), "<=", 1 / 20, 1 / 33),
    ("W1, `inprocess` / pfl-research", ("W1", "inprocess_to_pfl"), "<=", 0.8, 0.45),
    ("W3, exchanges per second, `inprocess`", ("W3", "inprocess_per_s"), ">=", 2000, 10_000),
    ("W3, exchanges per second, `ray`", ("W3", "ray_per_s"), ">=", 300, 1000),
    ("seconds per client, 10,000 / 100", ("scale-averaged", "seconds_per_client_10000_to_100"), "<=", 1.2, 1.05),
    ("the same with private states on disk", ("scale", "seconds_per_client_10000_to_100"), "<=", 1.2, 1.05),
    ("peak memory, 10,000 / 100, with private states", ("scale", "peak_memory_10000_to_100"), "<=", 1.5, 1.2),
    ("start-up to the first round, `inprocess`, s", ("startup_s", "inprocess"), "<=", 4, 2),
    ("start-up to the first round, `ray`, s", ("startup_s", "ray"), "<=", 8, 5),
)
"""What, where it stands in the results, which way is good, the bar that must hold, the aim."""


def number(value: float | None) -> str:
    """Write a number with three digits that matter."""
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def verdict(value: float | None, way: str, must: float, aim: float) -> str:
    """Say which of two bars a value holds."""
    if value is None:
        return ""
    reached = [value <= bar if way == "<=" else value >= bar for bar in (must, aim)]
    return "aim" if reached[1] else "yes" if reached[0] else "**no**"


def bars_table(results: Mapping[str, Any]) -> str:
    """Return the table of bars as Markdown."""
    rows = []
    for title, path, way, must, aim in BARS:
        value = results.get(path[0], {}).get(path[1])
        told = (title, number(value), f"{way} {number(must)}", f"{way} {number(aim)}", verdict(value, way, must, aim))
        rows.append(told)
    return _table(("", "measured", "bar", "aim", "holds"), rows)


def seconds_table(results: Mapping[str, Any]) -> str:
    """Return seconds a round, ratios and memory by implementation."""
    rows = []
    memory = results.get("W2", {}).get("peak_pss_mb", {})
    for key, name in NAMES.items():
        cells = [name]
        for workload in ("W1", "W2"):
            found = results.get(workload, {})
            measured = key in found.get("seconds_per_round", {})
            cells += (
                [f"{found['seconds_per_round'][key]:.3f}", number(found["to_plain"].get(key))] if measured else ["", ""]
            )
        if any(cells[1:]):
            rows.append([*cells, number(memory[key]) if key in memory else ""])
    return _table(("", "W1, s/round", "/ loop", "W2, s/round", "/ loop", "W2, peak MB"), rows)


def scenarios_table(results: Mapping[str, Any]) -> str:
    """Return seconds of a round of every scenario by engine."""
    found = results.get("scenarios", {})
    if not found:
        return "Rounds of single scenarios were not measured (`make -C benchmarks/engines scenarios` does)."
    engines = [name for name in NAMES if any(name in row for row in found.values())]
    rows = [
        [name, *(f"{row[engine]:.3g}" if engine in row else "" for engine in engines)] for name, row in found.items()
    ]
    return _table(("scenario", *(NAMES[engine].removeprefix("semfed, ") for engine in engines)), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(heads), "|".join(["---"] * len(heads)), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw seconds a round (W1, W2) and exchanges per second (W3), on logarithmic axes."""
    panels = []
    for workload, what in (("W1", "100 of 1,000 clients"), ("W2", "all of 1,000 clients")):
        if workload in results:
            panels.append((f"{workload}: {what}", "seconds per round", results[workload]["seconds_per_round"]))
    if "W3" in results:
        panels.append(("W3: split exchange of 5 clients", "exchanges per second", results["W3"]["per_s"]))
    heights = [len(values) for _, _, values in panels]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(6.4, 0.26 * sum(heights) + 0.8 * len(panels)), squeeze=False,
        gridspec_kw={"height_ratios": heights}, layout="constrained",
    )  # fmt: skip
    for axis, (title, label, values) in zip(axes[:, 0], panels, strict=True):
        _dots(axis, title, label, values)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def _dots(axis: Axes, title: str, label: str, values: Mapping[str, float]) -> None:
    """One line a row; dots, since the bars of a logarithmic axis would have no foot to stand on."""
    order = [name for name in reversed(NAMES) if name in values]
    low, high = min(values.values()) / 2, max(values.values()) * 4
    for height, name in enumerate(order):
        kind = "other" if not NAMES[name].startswith("semfed") else "Flower" if name == "flower" else "semfed"
        axis.plot([low, high], [height, height], color="#e4e7e9", linewidth=0.8, zorder=0)
        axis.plot(values[name], height, "o", color=COLOURS[kind], markersize=7)
        place = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
        shown = number(values[name]) if values[name] >= 100 else f"{values[name]:#.3g}"
        axis.annotate(shown, (values[name], height), **place)
    if "plain-1" in values:
        axis.axvline(values["plain-1"], color=COLOURS["other"], linewidth=0.8, linestyle=":", zorder=0)
    axis.set_yticks(range(len(order)), [NAMES[name] for name in order], fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.xaxis.set_minor_formatter(lambda *_: "")
    axis.set_ylim(-0.6, len(order) - 0.4)
    axis.set_title(title, fontsize=9, loc="left", fontweight="bold")
    axis.set_xlabel(label, fontsize=8)
    axis.spines[["top", "right", "left"]].set_visible(False)


def fill(text: str, name: str, content: str) -> str:
    """Put content between the two comments of a name."""
    return re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m: f"{m[1]}{content}\n{m[2]}", text, flags=re.S)


def machine_line(results: Mapping[str, Any]) -> str:
    """Say on what and with what it was measured."""
    found = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    load = ", ".join(
        f"{workload} {min(loads):.1f} to {max(loads):.1f}"
        for workload in ("W1", "W2", "W3")
        if (loads := [entry["load"] for entry in results["raw"].get(workload, ())])
    )
    shares = [value for name in ("W1", "W2", "W3") for e in results["raw"].get(name, ()) for value in e.get("cpus", ())]
    quiet = f"; two processes got {min(shares):.2f} to {max(shares):.2f} of two CPUs before and after" if shares else ""
    parts = [f"{found['cpu']}, {found['cores']} cores, {found['memory_gb']} GiB", versions]
    return "; ".join([*parts, f"load average before a run: {load or 'unknown'}"]) + f"{quiet}."


def main() -> None:
    results = json.loads(RESULTS.read_text())
    draw(results, RESULTS.with_suffix(".png"))
    text = README.read_text()
    for name, make in (
        ("bars", bars_table),
        ("seconds", seconds_table),
        ("scenarios", scenarios_table),
        ("machine", machine_line),
    ):
        text = fill(text, name, make(results))
    README.write_text(text)


if __name__ == "__main__":
    main()
