"""Strategies that go on: Flower's own with their momenta, and those of which nothing is known."""

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


class Unknown(FedAvg):
    """It may keep anything."""


def test_a_strategy_that_does_not_say_what_it_keeps_is_refused() -> None:
    with pytest.raises(CheckpointError, match="'Unknown' does not say what it keeps between rounds: set checkpoint_ev"):
        memory(Unknown())
    assert memory(FedAdam()) == {}
