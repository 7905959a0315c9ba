"""Results files hold what makes them again, and figures in the READMEs of scenarios are those of results files."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from semfed.clients.scores import ACCURACY

from semfed.cli import app
from semfed.events.metrics import Metric
from semfed.runs.results import quoted, quoted_lead, table
from semfed.runs.statistics import paired, spread
from semfed.scenario import built_in, overrides

FILES = sorted(file for path in built_in().values() for file in (path.parent / "results").glob("*.json"))
PSNR = Metric("psnr", "dB")
HOLDS = {"name", "description", "command", "commit", "packages", "python", "cpu"}
OF_A_RUN = HOLDS | {"scenario_sha256", "seeds", "settings", "arms", "differences"}


def load(file: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(file.read_text())
    return result


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parents[1].name}-{file.stem}")
def test_a_result_can_be_made_again_and_compares_its_arms(file: Path) -> None:
    result = load(file)
    run = result["command"].startswith("semfed run ")
    assert (OF_A_RUN if run else HOLDS) <= result.keys()
    if not run:
        return
    seeds = set(map(str, result["seeds"]))
    for kinds in result["arms"].values():
        for entry in kinds["final"].values():
            assert entry == spread({int(seed): value for seed, value in entry["values"].items()})
    for arm, told in result["differences"].items():
        ours, theirs = (result["arms"][name]["final"] for name in (arm, told["reference"]))
        for metric, entry in told["final"].items():
            by_seed = ({int(s): v for s, v in side[metric]["values"].items()} for side in (ours, theirs))
            assert entry == paired(*by_seed)
            assert entry["values"].keys() <= seeds


@pytest.mark.parametrize("name", sorted(built_in()))
def test_every_quoted_figure_of_a_readme_was_measured(name: str) -> None:
    """Fractions stand in percent with two decimals, PSNR in dB with two, rates in nats with three."""
    folder = built_in()[name].parent
    results = [json.loads(file.read_text()) for file in sorted((folder / "results").glob("*.json"))]
    text = (folder / "README.md").read_text()
    arms = [kinds for result in results for kinds in result.get("arms", {}).values()]
    told = [entry for kinds in arms for kind in ("final", "round_mean") for entry in kinds[kind].values()]
    in_db = [entry for kinds in arms for name, entry in kinds["final"].items() if name.startswith("psnr")]
    pairs = [kinds for result in results for kinds in result.get("differences", {}).values()]
    leads = [entry for kinds in pairs for kind in ("final", "round_mean") for entry in kinds[kind].values()]
    leads_in_db = [entry for kinds in pairs for name, entry in kinds["final"].items() if name.startswith("psnr")]
    numbers = [entry for result in results for entry in described(result.get("numbers", {}))]
    assert set(re.findall(r"\d+\.\d\d ± \d+\.\d\d\b", text)) <= {
        *(quoted(entry, ACCURACY) for entry in told),
        *(quoted(entry, PSNR) for entry in in_db),
    }
    assert set(re.findall(r"\d+\.\d{3} ± \d+\.\d{3}", text)) <= {in_nats(entry) for entry in told + numbers}
    found = re.findall(r"[+-]\d+\.\d\d \[-?\d+\.\d\d, -?\d+\.\d\d\]", text)
    assert set(found) <= {
        *(quoted_lead(entry, ACCURACY) for entry in leads),
        *(quoted_lead(entry, PSNR) for entry in leads_in_db),
    }
    found = re.findall(r"[+-]\d+\.\d{3} \[-?\d+\.\d{3}, -?\d+\.\d{3}\]", text)
    assert set(found) <= {lead_in_nats(entry) for entry in leads if entry["ci95"]}


def described(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield the means with deviations of a tree of numbers."""
    if isinstance(tree, dict):
        if {"mean", "sd"} <= tree.keys():
            yield tree
        for below in tree.values():
            yield from described(below)


def in_nats(entry: dict[str, Any]) -> str:
    return f"{entry['mean']:.3f} ± {entry['sd'] or 0:.3f}"


def lead_in_nats(entry: dict[str, Any]) -> str:
    low, high = (-end for end in reversed(entry["ci95"]))
    return f"{-entry['mean']:+.3f} [{low:.3f}, {high:.3f}]"


def test_a_lead_is_the_reference_minus_the_other_arm() -> None:
    """Differences of -1, -2 and -3 points: the reference leads by 2 [-0.48, 4.48], with t(2) = 4.3027 and s = 1."""
    ours, theirs = {0: 0.80, 1: 0.81, 2: 0.82}, {0: 0.81, 1: 0.83, 2: 0.85}
    entry = paired(ours, theirs)
    assert entry is not None
    assert quoted_lead(entry, ACCURACY) == "+2.00 [-0.48, 4.48]"
    kinds = {"a": ours, "b": theirs}
    result = {
        "arms": {arm: {"final": {"accuracy/x": spread(values)}} for arm, values in kinds.items()},
        "differences": {"a": {"reference": "b", "final": {"accuracy/x": entry}}},
    }
    assert table(result, ACCURACY, "accuracy/x").splitlines() == [
        "| arm | % | reference minus arm, points, paired 95 % interval | reference better in |",
        "|---|---|---|---|",
        "| a | 81.00 ± 1.00 | b: +2.00 [-0.48, 4.48] | 3 of 3 |",
        "| b | 83.00 ± 2.00 |  |  |",
    ]
    error = Metric("accuracy", "dB", better="lower")
    assert table(result, error, "accuracy/x").splitlines() == [
        "| arm | dB | reference minus arm, dB, paired 95 % interval | reference better in |",
        "|---|---|---|---|",
        "| a | 0.81 ± 0.01 | b: +0.02 [-0.00, 0.04] | 0 of 3 |",
        "| b | 0.83 ± 0.02 |  |  |",
    ]


EQUAL = {"iopm-detached": "gaussian-prior"}
"""Arms that are another one bit for bit, as a test shows; the READMEs say so."""


def arms_of(result: dict[str, Any]) -> set[str]:
    """Return the arms that a result has figures of, without the values that were swept."""
    return {name.split("@")[0] for key in ("arms", "numbers") for name in result.get(key, ())}


@pytest.mark.parametrize("name", list(built_in()))
def test_no_arm_of_a_scenario_is_left_out_of_its_results(name: str) -> None:
    told = [json.loads(path.read_text()) for path in FILES if path.parent.parent.name == name]
    measured = set().union(*(arms_of(result) for result in told))
    measured |= {arm for arm, equal in EQUAL.items() if equal in measured}
    assert set(overrides.load(name).arm_names) <= measured


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_the_command_of_a_result_is_accepted(path: Path) -> None:
    words = shlex.split(json.loads(path.read_text()).get("command", ""))
    if words[:2] != ["semfed", "run"]:
        pytest.skip("made by a program of its own")
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    given = group.commands["run"].make_context("run", words[2:]).params
    chosen = {name: given[name] for name in ("arms", "seeds", "sweep")}
    assert overrides.load(given["scenario"], given["overrides"] or (), **chosen).arm_names
