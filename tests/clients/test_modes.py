"""Training and evaluation modes, running statistics and dropout: every encoder of the package under every learner."""

from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import RecordDict
from torch import nn
from torch.nn.functional import cross_entropy

import semfed
from semfed.channels import Channel, ChannelState
from semfed.errors import DataError, ScenarioError
from semfed.flower.client.cache import ProcessCache
from semfed.models.layers.dropout import Dropout, seeded
from semfed.scenario import Scenario, overrides
from semfed.testing.clients import modes_seen
from semfed.training.objective import Networks

from .learners import LEARNERS, client, one_round, scenario

ENCODERS: dict[str, Any] = {
    "mlp": {"name": "mlp", "hidden": [16], "dropout": 0.3},
    "dcgan": {"name": "dcgan", "nf": 4},
    "lenet": {"name": "lenet", "channels": [4, 8], "hidden": 16},
    "convnet": {"name": "convnet", "channels": [4, 8]},
    "cnn": {"name": "cnn", "stages": [{"filters": [4], "dropout": 0.3}]},
    "proportional": {"name": "proportional", "fractions": [0.2]},
}
DECODER = {"model": {"decoder": {"name": "mlp", "hidden": [8], "dropout": 0.2}}}


def given(learner: str, encoder: str) -> Any:
    chosen = {**ENCODERS[encoder], **({"outputs": 16} if learner == "cooperative" else {})}
    changes = [DECODER, {"model": {"encoder": chosen}}]
    if learner == "cooperative":  # its other networks are decoders and trunks, which have dropout here, too
        mlp = {"name": "mlp", "hidden": [8], "dropout": 0.2}
        changes.append({"learner": {"auxiliary": mlp, "specific": {**mlp, "outputs": 8}}})
    return scenario(learner, *changes)


def evaluated(made: Any, learner: str, shared: Any) -> Any:
    """Test a client; a split one gets the initial decoder."""
    decoder = made.build_decoder().state_dict() if learner == "split" else {}
    parameters = [tensor.numpy() for tensor in decoder.values()] if decoder else list(shared)
    return made.evaluate(parameters, {"server-round": 1})


def contents(state: RecordDict) -> dict[str, bytes]:
    return {f"{n}/{k}": a.numpy().tobytes() for n, record in state.items() for k, a in record.items()}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("learner", LEARNERS)
def test_networks_learn_in_training_mode_only_and_carry_nothing_over(learner: str, encoder: str) -> None:
    made, cache, state = given(learner, encoder), ProcessCache(), RecordDict()
    start = client(made, cache=cache).get_parameters({})
    with modes_seen() as before:
        client(made, cache=cache).get_properties({})
    with modes_seen() as training:
        first, metrics = one_round(client(made, state=state, cache=cache), 1, start)
    assert before <= {(False, False)}
    assert {(True, True)} <= training <= {(True, True), (False, False)}
    kept = contents(state)
    shared = [array.copy() for array in first]
    with modes_seen() as testing:
        result = evaluated(client(made, state=state, cache=cache), learner, first)
    assert testing == {(False, False)}
    assert contents(state) == kept  # a test changes neither weights nor running statistics

    other = RecordDict()  # another client learns and is tested in between, with the same resident networks
    theirs, _ = one_round(client(made, 1, other, cache), 1, start)
    evaluated(client(made, 1, other, cache), learner, theirs)
    fresh = RecordDict()
    for resident, lived in ((cache, RecordDict()), (ProcessCache(), fresh)):
        again, told = one_round(client(made, state=lived, cache=resident), 1, start)
        assert [a.tobytes() for a in again] == [a.tobytes() for a in shared]
        assert (contents(lived), told) == (kept, metrics)
        assert evaluated(client(made, state=lived, cache=resident), learner, again)[::2] == result[::2]
    kept_networks = [
        network
        for item in cache._kept.values()
        for network in (item if isinstance(item, Networks) else [item])
        if isinstance(network, nn.Module) and not isinstance(network, Channel)
    ]
    assert bool(kept_networks) == (learner != "cooperative")
    assert not any(module.training for network in kept_networks for module in network.modules())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_latents_come_from_encoders_in_evaluation_mode(encoder: str) -> None:
    """A latent depends on its image alone, not on the batch, and training draws its masks from the seed."""
    tree = overrides.load("alignment-digits").tree()
    tree.pop("arms")
    tree["clients"] = [{"name": "user", "task": tree["clients"][0]["task"]}]
    tree["model"]["encoder"] = {**ENCODERS[encoder], "outputs": 16}
    tree["training"] |= {"epochs": 1, "batch_size": 200}
    tree["data"]["partition"] = {"name": "iid", "per_client": 40}
    tree["learner"]["latents"]["access_point_images"] = tree["learner"]["pilots"] = 100
    tree["learner"]["classifier"]["epochs"] = 1
    made = Scenario.model_validate(tree)
    with modes_seen() as seen:
        prepared = [client(made).prepared for _ in range(2)]
        latents = [one.access_point().test for one in prepared]
        users = [one.user(0) for one in prepared]
    assert {(True, True)} <= seen <= {(True, True), (False, False)}
    assert torch.equal(*latents)
    assert torch.equal(*(user.test for user in users))
    encode = prepared[0]._encoder(None)
    assert torch.allclose(encode(torch.arange(8))[3:4], encode(torch.tensor([3])), atol=1e-5)


@pytest.mark.parametrize("learner", ["multitask", "joint", "multi-receiver", "cooperative"])
def test_running_statistics_travel(learner: str) -> None:
    """Two minibatches of 20 images: two updates, counted in what the client sends."""
    made = given(learner, "dcgan")
    network = client(made).common.network if learner == "cooperative" else client(made).resident().encoder
    names = list(network.state_dict())
    sent, _ = one_round(client(made), 1, client(made).get_parameters({}))
    named = dict(zip(names, sent, strict=False))
    prefix = "trunk." if learner == "cooperative" else ""
    assert named[f"{prefix}3.num_batches_tracked"] == 2
    assert np.abs(named[f"{prefix}3.running_mean"]).max() > 1e-3


def test_batch_normalisation_is_tested_with_its_running_statistics() -> None:
    """The test of a multitask client against the same networks evaluated by hand."""
    made, state = given("multitask", "dcgan"), RecordDict()
    sent, _ = one_round(client(made, state=state), 1, client(made).get_parameters({}))
    tester = client(made, state=state)
    loss, _, metrics = tester.evaluate(list(sent), {"server-round": 1})
    labels = (tester.session.dataset.test.labels == 2).long()
    state_ = ChannelState(tester.session.generator("evaluation", 1))
    with torch.no_grad():
        nets = tester._load(list(sent), tester.session.load("training"))
        logits = nets.decoder(tester.channel(nets.encoder(tester.session.images()), state_))
    assert loss == float(cross_entropy(logits, labels))
    assert metrics["accuracy"] == float((logits.argmax(1) == labels).double().mean())


def test_split_and_joint_clients_draw_the_same_masks(tmp_path: Any) -> None:
    """FedProto's exchange without its pull and with decoders of their own is local training, dropout included."""
    changes = [
        "rounds=2",
        "clients.count=3",
        "data.q=12",
        'model.encoder={name="mlp", hidden=[32], dropout=0.3}',
        'model.decoder={name="mlp", hidden=[32], dropout=0.3}',
        "arms.fedproto.lambda_ms=0",
        "arms.fedproto.original=true",
    ]
    done = semfed.run("fedcl-digits", seeds=[0], arms=["fedproto", "local"], overrides=changes, out=tmp_path / "run")
    split, local = (done.summary["arms"][arm]["final"] for arm in ("fedproto", "local"))
    for metric in ("loss/average", "accuracy/own-classes", "accuracy/global"):
        assert split[metric]["mean"] == pytest.approx(local[metric]["mean"], abs=1e-5)


def test_torchs_own_dropout_gets_a_stream_and_other_kinds_are_refused() -> None:
    network = seeded(nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Dropout(0.4), nn.Linear(3, 2))))
    assert isinstance(network[1][0], Dropout)
    assert network[1][0].rate == 0.4
    with pytest.raises(ScenarioError, match="Dropout2d, whose masks no seed decides"):
        seeded(nn.Sequential(nn.Dropout2d(0.4)))


@pytest.mark.parametrize("learner", ["multitask", "joint", "split", "multi-receiver", "cooperative"])
def test_batch_normalisation_that_would_train_on_one_image_is_refused_when_the_run_opens(learner: str) -> None:
    made = given(learner, "dcgan")
    tree = made.tree()
    tree["training"]["batch_size"] = 1
    with pytest.raises(DataError, match=r"batch normalisation.*training.batch_size"):
        client(type(made).model_validate(tree)).get_properties({})
