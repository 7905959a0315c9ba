"""Strategies that go on: Flower's own with their momenta, those that say what they keep, and those that do not."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import remembering
import tomli_w
from flwr.serverapp.strategy import FedAdam
from safetensors.numpy import load_file

import semfed
from semfed import scenario as scenarios
from semfed.errors import CheckpointError
from semfed.flower.server.resume import memory, require_word
from semfed.scenario import overrides

FLOWERS = "flwr.serverapp.strategy:"
SAMPLED = {"fraction_train": 0.5, "fraction_evaluate": 0.5}


def given(tmp_path: Path, strategy: str, **settings: Any) -> dict[str, Any]:
    tree = scenarios.read(scenarios.built_in()["digits"]) | {"strategy": {"name": strategy, **settings}, "arms": []}
    path = tmp_path / "scenario.toml"
    path.write_text(tomli_w.dumps(tree))
    return {"scenario": path, "arms": None, "overrides": ["rounds=4", "training.epochs=1"]}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (f"{FLOWERS}FedAvg", {}),
        (f"{FLOWERS}FedAvg", SAMPLED),
        (f"{FLOWERS}FedAvgM", {"server_momentum": 0.5}),
        (f"{FLOWERS}FedAdam", {}),
        ("remembering:Remembering", {}),
        ("remembering:Shrinking", {}),
        ("remembering:StatelessAdam", SAMPLED),
        ("remembering:CountingAdam", {}),
    ],
    ids=lambda value: value.partition(":")[2] if isinstance(value, str) else ("sampled" if value == SAMPLED else ""),
)
def test_a_strategy_goes_on_with_what_it_keeps(
    interrupted: Callable[..., Path],
    results: Callable[[Path], Any],
    tmp_path: Path,
    name: str,
    settings: dict[str, Any],
) -> None:
    arguments = given(tmp_path, name, **settings)
    folder = interrupted(rounds=3, **arguments)
    semfed.run(resume=folder)
    semfed.run(seeds=[0], out=tmp_path / "undisturbed", **arguments)
    assert results(folder) == results(tmp_path / "undisturbed")


@pytest.mark.parametrize("name", ["Counting", "Half", "Plain", "Heir", "Adam"])
def test_a_strategy_that_does_not_say_what_it_keeps_is_refused(tmp_path: Path, name: str) -> None:
    """Before there is a run folder or an engine; a base's word does not count."""
    words = f"strategy '{name}' does not say itself what it keeps between rounds: .*stateless = True .*checkpoint_every"
    arguments, out = given(tmp_path, f"remembering:{name}"), tmp_path / "run"
    with pytest.raises(CheckpointError, match=words) as caught:
        semfed.run(seeds=[0], out=out, **arguments)
    assert not out.exists()
    assert "\n" not in str(caught.value)


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


def test_flowers_own_averaging_of_running_statistics_is_ours(tmp_path: Path) -> None:
    """Batch normalisation brings statistics, which are no parameters, and counts, which are integers."""
    changes = {"rounds": 2, "clients.count": 3, "training.batch_size": 8, "model.encoder": {"name": "dcgan", "nf": 4}}
    base = overrides.load("fedcl-digits", changes, arms=["fedavg"], seeds=[0]).arm("fedavg").tree()
    kept = {}
    for name in ("fedavg", f"{FLOWERS}FedAvg"):
        out = tmp_path / str(len(kept))
        semfed.run(base | {"strategy": {"name": name}}, out=out)
        kept[name] = load_file(next((out / "parameters").glob("*.safetensors")))
    ours, theirs = kept.values()
    assert ours.keys() == theirs.keys()
    statistics = [name for name in ours if name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert statistics
    for name, array in ours.items():
        np.testing.assert_allclose(theirs[name], array, rtol=1e-5, atol=1e-7, err_msg=name)
    assert all(ours[name].any() for name in statistics)


def test_it_runs_without_checkpoints(tmp_path: Path) -> None:
    arguments = given(tmp_path, "remembering:Counting")
    arguments["overrides"].append("checkpoint_every=0")
    assert semfed.run(seeds=[0], out=tmp_path / "run", **arguments).summary["complete"]


@pytest.mark.parametrize("name", semfed.scenario.plugins.available("strategies"))
def test_every_strategy_of_this_package_says_what_it_keeps(name: str) -> None:
    require_word(semfed.scenario.plugins.load("strategies", name))


def test_momenta_of_which_there_are_none_yet_are_nothing() -> None:
    assert memory(FedAdam()) == {}
    assert memory(remembering.CountingAdam()) == {"seen": 0}
