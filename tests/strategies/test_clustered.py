from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from semfed.engine.inprocess import InProcessGrid
from semfed.errors import FederationError
from semfed.events.callbacks import Callback, Outcome
from semfed.events.records import Record
from semfed.flower.client.app import make_client_app
from semfed.flower.server.federation import Federation
from semfed.flower.server.run import run_arm
from semfed.flower.trial import Trial
from semfed.scenario import Scenario, overrides

pytestmark = pytest.mark.usefixtures("identity")


class Kept(Callback):
    def __init__(self) -> None:
        self.records: list[Record] = []

    def on_round(self, arm: str, seed: int, round_: int, records: Any, seconds: float) -> None:
        self.records += records


def run(scenario: Scenario, arm: str, seed: int = 0, app: Any = None) -> tuple[Outcome, list[Record]]:
    kept = Kept()
    grid = InProcessGrid(app or make_client_app(), len(scenario.clients))
    return run_arm(grid, Trial(scenario.arm(arm), arm, seed), [kept]), kept.records


def measured(records: list[Record], client: str) -> list[tuple[int, str, float]]:
    return [(r.round, r.metric, r.value) for r in records if r.client == client and not r.metric.startswith("cost")]


def test_clusters_come_from_the_similarity(digits: Scenario) -> None:
    outcome, _ = run(digits, "clustered")
    assert outcome.details["clusters"] == [[0, 1], [2]]
    similarity = np.array(outcome.details["similarity"])
    assert similarity[0, 2] == similarity[1, 2] == 0
    assert outcome.details["threshold"] == pytest.approx(similarity[0, 1] / 2)


def test_a_cluster_of_one_is_individual_training_bit_for_bit(digits: Scenario) -> None:
    clustered, own = run(digits, "clustered"), run(digits, "individual")
    assert measured(clustered[1], "Sat 3") == measured(own[1], "Sat 3")
    assert measured(clustered[1], "Sat 1") != measured(own[1], "Sat 1")
    for name, array in clustered[0].arrays.items():
        if name.startswith("1/"):
            assert array.tobytes() == own[0].arrays[f"2/{name[2:]}"].tobytes()


def test_one_cluster_of_all_is_stock_federated_averaging(digits: Scenario) -> None:
    """Flower's own FedAvg stands in a scenario as it is."""
    table = {"name": "stock", "strategy": "flwr.serverapp.strategy:FedAvg"}
    stock = Scenario.model_validate({**digits.tree(), "arms": [table]})
    theirs, their_records = run(stock, "stock")
    weighted = overrides.load("digits", ["rounds=2", "training.epochs=1", "strategy.weighted=true"])
    ours, our_records = run(weighted, "unclustered")
    for name, array in theirs.arrays.items():
        assert np.allclose(ours.arrays[f"0/{name}"], array, atol=1e-6)
    for a, b in zip(our_records, their_records, strict=True):
        assert (a.client, a.metric) == (b.client, b.metric)
        assert a.value == pytest.approx(b.value, rel=1e-3) or a.metric.startswith("cost")


def test_means_are_taken_inside_the_clusters(digits: Scenario) -> None:
    federation_arrays = run(overrides.load("digits", ["rounds=1", "training.epochs=1"]), "individual")[0].arrays
    together = run(overrides.load("digits", ["rounds=1", "training.epochs=1"]), "clustered")[0].arrays
    for name in (key[2:] for key in together if key.startswith("0/")):
        mean = (federation_arrays[f"0/{name}"].astype(np.float64) + federation_arrays[f"1/{name}"]) / 2
        assert np.allclose(together[f"0/{name}"], mean, atol=1e-7)


def failing_app(client: int, round_: int) -> Any:
    app = make_client_app()
    inner = app._registered_funcs["train.default"]

    def train(message: Message, context: Any) -> Message:
        if context.node_config["partition-id"] == client and message.content["config"]["server-round"] == round_:
            raise RuntimeError("eclipse")
        return inner(message, context)

    app._registered_funcs["train.default"] = train
    return app


def test_a_client_that_raises_costs_that_rounds_reply_only(digits: Scenario) -> None:
    scenario = overrides.load("digits", ["rounds=3", "training.epochs=1"])
    outcome, records = run(scenario, "clustered", app=failing_app(2, 2))
    failures = [(r.round, r.client, r.note) for r in records if r.metric.startswith("failure")]
    assert failures == [(2, "Sat 3", "RuntimeError: eclipse")]
    assert {r.round for r in records if r.client == "Sat 3" and r.metric == "accuracy/t3"} == {1, 2, 3}
    _, undisturbed = run(scenario, "clustered")
    assert measured(records, "Sat 1") == measured(undisturbed, "Sat 1"), "another cluster is not concerned"
    assert outcome.details["clusters"] == [[0, 1], [2]]


def test_fewer_than_the_quorum_stop_and_keep_what_was_measured(digits: Scenario) -> None:
    scenario = overrides.load("digits", ["rounds=3", "training.epochs=1", "strategy.quorum=1.0"])
    kept = Kept()
    grid = InProcessGrid(failing_app(0, 2), 3)
    with pytest.raises(FederationError, match="round 2: 2 of 3 clients .* 'Sat 1' .RuntimeError: eclipse"):
        run_arm(grid, Trial(scenario.arm("clustered"), "clustered", 0), [kept])
    assert max(r.round for r in kept.records if r.metric == "accuracy/average") == 1


def test_clusters_that_nobody_told_a_pmf_for(open_federation: Callable[..., Federation], digits: Scenario) -> None:
    federation = open_federation(digits)
    for told in federation.properties.values():
        for name in [key for key in told if key.startswith("pmf/")]:
            del told[name]
    strategy = digits.arm("clustered").strategy
    with pytest.raises(Exception, match="needs clients that tell their pmf"):
        strategy.load()(federation.trial, strategy.settings).prepare(federation)
