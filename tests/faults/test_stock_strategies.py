"""Strategies that go on: Flower's own with their momenta, and those of which nothing is known."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from flwr.serverapp.strategy import FedAdam, FedAvg

import semfed
from semfed import scenario as scenarios
from semfed.errors import CheckpointError
from semfed.flower.continued import memory


@pytest.mark.parametrize("name", ["FedAvg", "FedAvgM", "FedAdam"])
def test_a_stock_strategy_goes_on_with_its_momenta(
    interrupted: Callable[..., Path], results: Callable[[Path], Any], tmp_path: Path, name: str
) -> None:
    strategy = {"name": f"flwr.serverapp.strategy:{name}"} | ({"server_momentum": 0.5} if name == "FedAvgM" else {})
    tree = scenarios.read(scenarios.built_in()["digits"]) | {"strategy": strategy, "arms": []}
    path = tmp_path / "scenario.toml"
    path.write_text(tomli_w.dumps(tree))
    given = {"scenario": path, "arms": None, "overrides": ["rounds=4", "training.epochs=1"]}
    folder = interrupted(rounds=3, **given)
    semfed.run(resume=folder)
    semfed.run(seeds=[0], out=tmp_path / "undisturbed", **given)
    assert results(folder) == results(tmp_path / "undisturbed")


def test_the_clients_that_a_stock_strategy_draws_follow_from_the_seed(
    interrupted: Callable[..., Path], results: Callable[[Path], Any], tmp_path: Path
) -> None:
    """Flower draws them from Python's global generator: neither what was drawn before nor a resumed run may matter."""
    sampled = {"fraction_train": 0.34, "min_train_nodes": 1, "fraction_evaluate": 0.34, "min_evaluate_nodes": 1}
    strategy = {"name": "flwr.serverapp.strategy:FedAvg", **sampled}
    tree = scenarios.read(scenarios.built_in()["digits"]) | {"strategy": strategy, "arms": []}
    path = tmp_path / "scenario.toml"
    path.write_text(tomli_w.dumps(tree))
    given = {"scenario": path, "arms": None, "overrides": ["rounds=6", "training.epochs=1"]}
    for number in (1, 2):
        random.seed(number)
        semfed.run(seeds=[0], out=tmp_path / str(number), **given)
    assert results(tmp_path / "1") == results(tmp_path / "2")
    folder = interrupted(rounds=3, **given)
    random.seed(3)
    semfed.run(resume=folder)
    assert results(folder) == results(tmp_path / "1")


class Unknown(FedAvg):
    """It may keep anything."""


def test_a_strategy_that_does_not_say_what_it_keeps_is_refused() -> None:
    with pytest.raises(CheckpointError, match="'Unknown' does not say what it keeps between rounds: set checkpoint_ev"):
        memory(Unknown())
    assert memory(FedAdam()) == {}
