"""Figures in the READMEs of scenarios are those of the committed results."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from semfed import overrides
from semfed.cli import app
from semfed.experiment.report import percent
from semfed.scenario import built_in

FILES = [path.parent / "results" / f"{name}.json" for name, path in built_in().items()]


@pytest.mark.parametrize("file", [file for file in FILES if file.is_file()], ids=lambda file: file.stem)
def test_every_mean_and_spread_in_the_readme_was_measured(file: Path) -> None:
    result = json.loads(file.read_text())
    if "arms" not in result:
        pytest.skip("not a condensed run")
    measured = {percent(entry) for arm in result["arms"].values() for entry in arm["final"].values()}
    told = re.findall(r"\d+\.\d\d ± \d+\.\d\d", (file.parents[1] / "README.md").read_text())
    assert told
    assert set(told) <= measured


EQUAL = {"iopm-detached": "gaussian-prior"}
"""Arms that are another one bit for bit, as a test shows; the READMEs say so."""
RESULTS = [path for scenario in built_in().values() for path in sorted(scenario.parent.glob("results/*.json"))]


def arms_of(result: dict[str, Any]) -> set[str]:
    """Return the arms that a result has figures of, without the values that were swept."""
    return {name.split("@")[0] for key in ("arms", "numbers") for name in result.get(key, ())}


@pytest.mark.parametrize("name", list(built_in()))
def test_no_arm_of_a_scenario_is_left_out_of_its_results(name: str) -> None:
    told = [json.loads(path.read_text()) for path in RESULTS if path.parent.parent.name == name]
    measured = set().union(*(arms_of(result) for result in told))
    measured |= {arm for arm, equal in EQUAL.items() if equal in measured}
    assert set(overrides.load(name).arm_names) <= measured


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_the_command_of_a_result_is_accepted(path: Path) -> None:
    words = shlex.split(json.loads(path.read_text()).get("command", ""))
    if words[:2] != ["semfed", "run"]:
        pytest.skip("made by a program of its own")
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    given = group.commands["run"].make_context("run", words[2:]).params
    chosen = {name: given[name] for name in ("arms", "seeds", "sweep")}
    assert overrides.load(given["scenario"], given["overrides"] or (), **chosen).arm_names
