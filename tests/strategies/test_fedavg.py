"""Who takes part in a round of federated averaging."""

import random
from collections.abc import Callable
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

import semfed
from semfed.errors import ScenarioError
from semfed.flower import arrays as wire
from semfed.flower.client.app import make_client_app
from semfed.flower.server.federation import Federation
from semfed.flower.server.run import make_strategy
from semfed.runs.folder import read_records
from semfed.scenario import overrides

SHORT = ["rounds=4", "data.q=6", "clients.count=5"]


def asked(federation: Federation, phase: str, rounds: range) -> list[list[int]]:
    strategy = make_strategy(federation.trial)
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


def test_every_round_is_summed_in_the_groups_of_its_own_clients(open_federation: Callable[..., Federation]) -> None:
    """Also the first one, and one after an exchange with others: 1 is lost in 1e16, four or five of them are not."""
    values = [1e16, *[1.0] * 19]
    app = make_client_app()

    def train(message: Message, context: Context) -> Message:
        arrays = wire.record({"w": np.array([values[int(context.node_config["partition-id"])]])})
        content = {"arrays": arrays, "metrics": MetricRecord({"num-examples": 3})}
        return Message(RecordDict(content), reply_to=message)

    app._registered_funcs["train.default"] = train
    scenario = overrides.load("fedcl-digits", ["data.q=6", "clients.count=20"], arms=["fedavg"])
    federation = open_federation(scenario, "fedavg", app=app)
    strategy = make_strategy(federation.trial)
    strategy.federation = federation
    halves = [reduce(add, values[k : k + 5]) for k in range(0, 20, 5)]  # sum compensates, from Python 3.12 on
    expected = ((halves[0] + halves[1]) + (halves[2] + halves[3])) / 20
    assert expected != reduce(add, values) / 20
    for round_ in (1, 2):
        sent = list(strategy.configure_train(round_, wire.record({"w": np.zeros(1)}), ConfigRecord(), federation))
        arrays, _ = strategy.aggregate_train(round_, federation.send_and_receive(sent))
        assert arrays is not None
        assert arrays["w"].numpy().tolist() == [expected]
        list(federation.send_and_receive(sent[:3]))


def test_stock_strategies_sample_by_seed_and_round(tmp_path: Path) -> None:
    """Flower's own draw from Python's global generator, of which a run must neither depend nor leave a trace."""
    table = '{name = "flwr.serverapp.strategy:FedAvg", fraction_train = 0.4, fraction_evaluate = 0.0}'
    drawn = []
    for state, seed in ((1, 0), (2, 0), (2, 1)):
        random.seed(state)
        out = tmp_path / f"{state}-{seed}"
        changes = [*SHORT, f"arms.fedavg.strategy={table}", 'model.encoder={name = "mlp", hidden = [16]}']
        run = semfed.run("fedcl-digits", arms=["fedavg"], seeds=[seed], overrides=changes, out=out)
        assert random.random() == random.Random(state).random()
        trained = [(r.round, r.client) for r in read_records(run.folder) if r.metric == "train_loss/own-classes"]
        assert [sum(round_ == k for round_, _ in trained) for k in range(1, 5)] == [2] * 4
        drawn.append(trained)
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({tuple(c for r, c in drawn[0] if r == k) for k in range(1, 5)}) > 1, "every round draws its own"


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
