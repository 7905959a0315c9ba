"""Who takes part in a round of federated averaging."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, ConfigRecord

import semfed
from semfed import overrides
from semfed.errors import ScenarioError
from semfed.experiment.folder import read_records
from semfed.flower.federation import Federation
from semfed.flower.server import make_strategy

SHORT = ["rounds=4", "data.q=6", "clients.count=5"]


def asked(federation: Federation, phase: str, rounds: range) -> list[list[int]]:
    strategy = make_strategy(federation.experiment)
    strategy.federation = federation
    configure = getattr(strategy, f"configure_{phase}")
    return [
        [message.metadata.dst_node_id for message in configure(k, ArrayRecord(), ConfigRecord(), federation)]
        for k in rounds
    ]


def test_every_round_draws_its_own_clients(open_federation: Callable[..., Federation]) -> None:
    scenario = overrides.load("fedcl-digits", [*SHORT, "arms.fedavg.strategy.fraction_train=0.5"], arms=["fedavg"])
    federation = open_federation(scenario, "fedavg")
    rounds = range(1, 21)
    drawn = asked(federation, "train", rounds)
    assert all(len(set(clients)) == 2 and clients == sorted(clients) for clients in drawn)
    assert {client for clients in drawn for client in clients} == set(range(5))
    assert drawn == asked(federation, "train", rounds)
    assert drawn != asked(open_federation(scenario, "fedavg", seed=1), "train", rounds)
    assert asked(federation, "evaluate", rounds) == [list(range(5))] * 20


def test_at_least_one_client_trains(open_federation: Callable[..., Federation]) -> None:
    scenario = overrides.load("fedcl-digits", [*SHORT, "arms.fedavg.strategy.fraction_train=0.01"], arms=["fedavg"])
    assert [len(clients) for clients in asked(open_federation(scenario, "fedavg"), "train", range(1, 4))] == [1] * 3


def test_a_run_without_tests_has_costs_and_losses(tmp_path: Path) -> None:
    fractions = ["arms.fedavg.strategy.fraction_train=0.4", "arms.fedavg.strategy.fraction_evaluate=0"]
    run = semfed.run("fedcl-digits", arms=["fedavg"], seeds=[0], overrides=[*SHORT, *fractions], out=tmp_path / "run")
    assert run.summary["complete"]
    records = read_records(run.folder)
    assert not [record for record in records if record.metric.startswith("accuracy")]
    trained = [record for record in records if record.metric == "train_loss/own-classes"]
    assert [sum(record.round == k for record in trained) for k in range(1, 5)] == [2] * 4


@pytest.mark.parametrize("setting", ["fraction_train=0", "fraction_evaluate=1.5"])
def test_a_fraction_is_a_fraction(setting: str) -> None:
    with pytest.raises(ScenarioError, match=setting.split("=")[0]):
        overrides.load("fedcl-digits", [f"arms.fedavg.strategy.{setting}"])
