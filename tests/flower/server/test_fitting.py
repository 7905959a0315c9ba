"""Strategies that cannot work with a scenario's clients are refused in one sentence, and before anything runs."""

from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed import scenario
from semfed.errors import ScenarioError
from semfed.flower.server import fitting
from semfed.scenario import Scenario, overrides

FLOWERS = "flwr.serverapp.strategy:"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("fedcl-digits", ["arms.fedavg.learner=split"], "learner 'split' has no method 'fit', by which strategy 'fed"),
        (
            "fedcl-digits",
            ["arms.fedcl.learner=joint"],
            "learner 'joint' has no method 'forward', .* learners \\['split'\\]",
        ),
        (
            "fedcl-digits",
            ["arms.fedavg.learner=split", f'arms.fedavg.strategy={{name = "{FLOWERS}FedAdam"}}'],
            "learner 'split' has no method 'fit', by which strategy 'flwr",
        ),
        (
            "digits",
            ['arms.clustered.strategy={name = "fedavg", exchange = false}'],
            "learner 'multitask' keeps no whole model",
        ),
        (
            "alignment-digits",
            ["arms.shared.strategy=fedavg"],
            "strategy = 'fedavg': learner 'aligned-user' needs strategy 'alignment'",
        ),
    ],
    ids=["no fit", "no phases", "stock", "no model to go on from", "no precoder"],
)
def test_a_learner_that_a_strategy_cannot_train_is_refused(
    name: str, changes: list[str], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(ScenarioError, match=message) as caught:
        semfed.run(name, overrides=changes, out=out)
    assert not out.exists()
    assert "\n" not in str(caught.value)


def stock(name: str, clients: int, **settings: Any) -> Scenario:
    table = ", ".join([f'name = "{FLOWERS}{name}"', *(f"{key} = {value}" for key, value in settings.items())])
    changes = ["data.q=6", f"clients.count={clients}", f"arms.fedavg.strategy={{{table}}}"]
    return overrides.load("fedcl-digits", changes, arms=["fedavg"]).arm("fedavg")


@pytest.mark.parametrize(
    ("clients", "settings", "message"),
    [
        (5, {"min_available_nodes": 6}, r"strategy.min_available_nodes = 6 is more than the number of clients, 5,"),
        (5, {"min_train_nodes": 7}, r"strategy.min_train_nodes = 7 .* set it to 5 at most"),
        (5, {"min_evaluate_nodes": 8}, r"strategy.min_evaluate_nodes = 8"),
        (1, {}, r"strategy.min_available_nodes = 2 is more than the number of clients, 1,"),
    ],
)
@pytest.mark.parametrize("name", ["FedAvg", "FedAdam", "FedMedian"])
def test_a_strategy_that_would_wait_for_ever_is_refused(
    name: str, clients: int, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        fitting.check(stock(name, clients, **settings))


def test_as_many_nodes_as_clients_are_enough() -> None:
    fitting.check(stock("FedAvg", 5, min_available_nodes=5, min_train_nodes=5, min_evaluate_nodes=5))
    fitting.check(stock("FedAvg", 1, min_available_nodes=1, min_train_nodes=1, fraction_evaluate=0.0))


@pytest.mark.parametrize("strategy", ["fedavg", "clustered", f"{FLOWERS}FedAvg"])
def test_encoders_that_cannot_be_averaged_are_refused(strategy: str) -> None:
    tree = overrides.load("digits").tree() | {"strategy": {"name": strategy}, "arms": []}
    tree["clients"][1]["encoder"] = {"name": "mlp", "hidden": [8]}
    with pytest.raises(ScenarioError, match="client 'Sat 2' has an encoder of its own, which cannot be averaged"):
        fitting.check(scenario.validate(tree))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("remembering:NoStrategy", "is no class of a Flower strategy"),
        ("remembering:scaled", r"is none of the strategies: it has no method aggregate_train\(\)"),
        ("remembering:Hurried", r"has a start\(\) of its own"),
    ],
)
def test_what_is_no_strategy_for_a_run_is_refused(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "plugins")
    tree = overrides.load("digits").tree() | {"strategy": {"name": name}, "arms": []}
    with pytest.raises(ScenarioError, match=message):
        fitting.check(scenario.validate(tree))
