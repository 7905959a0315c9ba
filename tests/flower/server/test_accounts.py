"""Costs against byte counts worked out by hand: values times their size, names, and headers of 128 bytes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from flwr.app import ConfigRecord, Error, Message, RecordDict

import semfed
from semfed import scenario as scenarios
from semfed.flower import arrays as wire
from semfed.flower.server.accounts import ALL, Accounts, unsent
from semfed.flower.server.exchange import Envelope
from semfed.flower.server.federation import Federation
from semfed.flower.trial import Trial
from semfed.runs.api import Run
from semfed.scenario import Scenario, overrides

HEADER = 128
"""Of an .npy file with a small array."""
DIGITS_ENCODER = 4 * (64 * 32 + 32 + 32 * 8 + 8) + 4 * HEADER + len("1.weight1.bias3.weight3.bias")
"""64-32-8 with biases, float32; layer 0 flattens and layer 2 is a ReLU."""


def costs(run: Run, arm: str) -> dict[str, float]:
    found = run.summary["arms"][arm]["final"]
    return {
        metric.removeprefix("cost/"): entry["mean"] for metric, entry in found.items() if metric.startswith("cost/")
    }


@pytest.fixture
def digits_run(tmp_path: Path) -> Run:
    return semfed.run("digits", seeds=[0], overrides=["rounds=2", "training.epochs=1"], out=tmp_path / "run")


def test_who_is_alone_pays_nothing_and_the_simulation_says_what_it_sent(digits_run: Run) -> None:
    together, alone = costs(digits_run, "unclustered"), costs(digits_run, "individual")
    assert (together["bytes_up"], together["bytes_down"]) == (2 * 3 * DIGITS_ENCODER,) * 2
    assert (alone["bytes_up"], alone["bytes_down"]) == (0, 0)
    for way in ("up", "down"):
        more = alone[f"simulation_bytes_{way}"] - together[f"simulation_bytes_{way}"]
        assert 2 * 3 * DIGITS_ENCODER <= more < 2 * 3 * DIGITS_ENCODER + 200  # the arms' names and cluster settings


def test_clustering_pays_for_its_clusters_and_for_the_label_statistics(digits_run: Run) -> None:
    clustered = costs(digits_run, "clustered")  # satellites 1 and 2 share an encoder, 3 is alone
    values = 2 + 3 + 2
    assert clustered["bytes_up"] == 2 * 2 * DIGITS_ENCODER + 8 * values
    assert clustered["bytes_down"] == 2 * 2 * DIGITS_ENCODER


def stock(folder: Path, name: str, *, rounds: int) -> Run:
    strategy = {"name": f"flwr.serverapp.strategy:{name}"}
    tree = scenarios.read(scenarios.built_in()["digits"]) | {"strategy": strategy, "arms": []}
    path = folder / f"{name}.toml"
    path.write_text(tomli_w.dumps(tree))
    return semfed.run(path, seeds=[0], overrides=[f"rounds={rounds}", "training.epochs=1"], out=folder / name)


@pytest.mark.parametrize("name", ["FedAvg", "FedAdam"])
def test_a_stock_strategy_sends_the_dtypes_of_the_model(tmp_path: Path, name: str) -> None:
    """Flower's FedAdam makes float64 of the arrays, so that rounds 2 and 3 would cost twice as much."""
    found = costs(stock(tmp_path, name, rounds=3), "digits")
    assert found["bytes_down"] == found["bytes_up"] == 3 * 3 * DIGITS_ENCODER


def test_local_training_exchanges_nothing(tmp_path: Path) -> None:
    given = {"arms": ["local"], "seeds": [0], "overrides": ["rounds=2"]}
    found = costs(semfed.run("fedcl-digits", out=tmp_path / "run", **given), "local")
    assert (found["bytes_up"], found["bytes_down"]) == (0, 0)
    assert found["simulation_bytes_up"] > 0
    assert found["simulation_bytes_down"] > 0


def test_split_training_sends_features_and_gradients_over_the_channel_and_labels_as_bytes(tmp_path: Path) -> None:
    """60 images a client in 6 minibatches of 10; 64 float32 features each, and labels of 8 bytes."""
    run = semfed.run("fedcl-digits", arms=["fedcl"], seeds=[0], overrides=["rounds=1"], out=tmp_path / "run")
    found, messages = costs(run, "fedcl"), 5 * 6
    assert found["bytes_up"] == messages * (10 * 8 + HEADER + len("labels"))
    assert found["bytes_down"] == 0
    assert found["channel_uses"] == 2 * 5 * 60 * 32
    block = 10 * 64 * 4 + HEADER
    assert found["simulation_bytes_up"] > messages * (block + len("features"))
    assert found["simulation_bytes_down"] > messages * (block + len("gradient"))


def cooperative(*changes: str) -> Scenario:
    """Two clients with tiny networks; the common unit is trained in rounds 1 and 2 of 5."""
    sizes = ["rounds=5", "learner.common.rounds=2", "learner.common.outputs=4", "model.encoder.hidden=[8]"]
    small = overrides.load("iopm-federated", [*sizes, "model.encoder.outputs=8"], seeds=[0])
    return overrides.load(small, changes)


@pytest.mark.parametrize(
    ("change", "up", "down"),
    [
        ("learner.schedule='common-first'", [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]),  # 3: the last average
        ("learner.schedule='interleaved'", [1] * 5, [1] * 5),
        ("learner.cu=false", [0] * 5, [0] * 5),
    ],
)
@pytest.mark.usefixtures("identity")
def test_a_frozen_common_unit_is_sent_once_more_and_never_again(change: str, up: list[int], down: list[int]) -> None:
    scenario = cooperative(change)
    accounts = Accounts(Trial(scenario.arm("unclustered"), "unclustered", 0))
    unit = wire.record({"w": np.zeros(100, dtype=np.float32)})
    size = 400 + HEADER + len("w")
    found = []
    for round_ in range(1, 6):
        bill = accounts.bill(len(scenario.clients))
        content = RecordDict({"arrays": unit, "config": ConfigRecord({"server-round": round_})})
        message = Message(content, 0, "train")
        bill.sent(0, message)
        bill.answered(0, message, Message(RecordDict({"arrays": unit}), reply_to=message))
        told = {metric: value for _, metric, value in accounts.take_records()}
        found.append((told["cost/bytes_up"], told["cost/bytes_down"]))
    assert found == [(a * size, b * size) for a, b in zip(up, down, strict=True)]


@pytest.mark.usefixtures("identity")
def test_a_server_that_draws_its_clients_sends_the_frozen_unit_to_whoever_is_drawn() -> None:
    accounts = Accounts(Trial(cooperative().arm("unclustered"), "unclustered", 0))
    unit = wire.record({"w": np.zeros(100, dtype=np.float32)})
    bill = accounts.bill(1)
    bill.sent(0, Message(RecordDict({"arrays": unit, "config": ConfigRecord({"server-round": 5})}), 0, "train"))
    assert (0, "cost/bytes_down", 529.0) in accounts.take_records()


@pytest.mark.usefixtures("identity")
def test_a_message_says_what_the_scheme_would_not_send(digits: Scenario) -> None:
    accounts = Accounts(Trial(digits.arm("clustered"), "clustered", 0))
    arrays = wire.record({"a": np.zeros(3, dtype=np.float32), "bc": np.zeros(5, dtype=np.float64)})
    a, bc = 12 + HEADER + 1, 40 + HEADER + 2
    bill = accounts.bill(3)
    for left_out, own in (({}, a + bc), ({"down": ["a"]}, bc), ({"up": ["a"]}, a + bc), ({"down": [ALL]}, 0)):
        content = RecordDict({"arrays": arrays, "unsent": unsent(**left_out)})
        bill.sent(1, Message(content, 1, "train"))
        about = content.config_records["unsent"].count_bytes()
        assert accounts.take_records() == [
            (1, "cost/bytes_down", own),
            (1, "cost/simulation_bytes_down", a + bc - own + about),
        ]


@pytest.mark.usefixtures("identity")
def test_a_bill_is_settled_for_every_time_that_a_message_went_out(digits: Scenario) -> None:
    accounts = Accounts(Trial(digits.arm("clustered"), "clustered", 0))
    message = Message(RecordDict({"arrays": wire.record({"w": np.zeros(100, dtype=np.float32)})}), 0, "train")
    reply, error = Message(message.content, reply_to=message), Message(Error(2, "as asked"), reply_to=message)
    size, bill = 400 + HEADER + len("w"), accounts.bill(3)
    for sent, answer, down, up in ((1, reply, size, size), (3, reply, 3 * size, size), (2, error, 2 * size, 0)):
        bill.settle(0, Envelope(message, {"client": 0}, sent), answer)
        told = {metric: value for _, metric, value in accounts.take_records()}
        assert (told["cost/bytes_down"], told.get("cost/bytes_up", 0)) == (down, up)


@pytest.mark.usefixtures("identity")
def test_opening_an_experiment_is_the_simulations(open_federation: Callable[..., Federation], digits: Scenario) -> None:
    federation = open_federation(digits)
    text = len(Trial(digits.arm("clustered"), "clustered", 0).to_json())
    told = {(r.client, r.metric): r.value for r in federation.take_records(0)}
    assert {told[f"Sat {k}", "cost/simulation_bytes_down"] for k in (1, 2, 3)} == {text}
    assert {metric for _, metric in told} == {"cost/simulation_bytes_down", "cost/simulation_bytes_up"}
