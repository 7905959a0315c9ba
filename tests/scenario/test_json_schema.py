"""The schema that editors get: every scenario of the package fits, and what is wrong does not."""

import json
import tomllib
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from typer.testing import CliRunner

from semfed.cli import app
from semfed.scenario import built_in, overrides
from tests.settings import bases

jsonschema = pytest.importorskip("jsonschema")


@cache
def validator() -> Any:
    """Made of what the command prints."""
    schema = json.loads(CliRunner().invoke(app, ["schema"]).stdout, parse_constant=pytest.fail)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def problems(tree: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator().iter_errors(tree)]


@pytest.mark.parametrize("name", built_in())
def test_every_scenario_fits_as_it_is_written_and_as_it_is_resolved(name: str) -> None:
    path = built_in()[name]
    assert problems(tomllib.loads(path.read_text())) == []
    assert problems(overrides.load(name).tree()) == []


@pytest.mark.parametrize("name", bases.BASES)
def test_every_kind_of_part_fits(name: str) -> None:
    assert problems(bases.BASES[name]()) == []


def digits() -> Any:
    return tomllib.loads(built_in()["digits"].read_text())


WRONG: list[Callable[[Any], Any]] = [
    lambda tree: tree.update(rouns=3),
    lambda tree: tree.update(rounds=0),
    lambda tree: tree.update(rounds="many"),
    lambda tree: tree.pop("channel"),
    lambda tree: tree["channel"].update(snr_bd=3),
    lambda tree: tree["channel"].update(snr_db="loud"),
    lambda tree: tree["channel"].update(fading="block"),  # of rayleigh, not of awgn
    lambda tree: tree.update(channel="awng"),
    lambda tree: tree.update(data={"source": "digits", "partition": "counts"}),  # which needs its table
    lambda tree: tree["strategy"].update(clusters="three"),
    lambda tree: tree["clients"][0].update(tasks="t1"),
    lambda tree: tree["arms"][0].update(stategy={}),
    lambda tree: tree["arms"][0].update(seeds=[1]),
    lambda tree: tree.update(clients={"count": 0, "task": "t1"}),
    lambda tree: tree["model"].update(encoder={"name": "mlp", "hidden": [0]}),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_is_wrong_does_not_fit(number: int) -> None:
    tree = digits()
    WRONG[number](tree)
    assert problems(tree)


RIGHT: list[Callable[[Any], Any]] = [
    lambda tree: tree.update(clients={"count": 30, "task": "t1"}),
    lambda tree: tree.update(channel={"name": "my_channels:Rain", "loss": 3}),
    lambda tree: tree.update(channel="my_channels:Rain"),
    lambda tree: tree.update(strategy="fedavg"),
    lambda tree: tree["channel"].update(snr_db=float("inf")),
]


@pytest.mark.parametrize("number", range(len(RIGHT)))
def test_what_is_right_fits(number: int) -> None:
    tree = digits()
    RIGHT[number](tree)
    assert problems(tree) == []


def test_texts_are_there_for_editors() -> None:
    text = json.dumps(validator().schema)
    assert "One coefficient per symbol, or one per sample." in text
    assert "The metric by which arms are compared" in text
