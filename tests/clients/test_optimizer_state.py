"""What a local optimiser knows when a round begins, at every learner."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, RecordDict
from torch import nn
from torch.nn.functional import cross_entropy

import semfed
from semfed.channels import ChannelState
from semfed.checkpoint.files import Arrays
from semfed.flower.client.base import BaseLearner
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.session import Session
from semfed.flower.trial import Trial
from semfed.training import minibatches

from .learners import LEARNERS, client, one_round, scenario

ADAM: dict[str, Any] = {"training": {"optimizer": "adam", "lr": 0.01, "batch_size": 16, "epochs": 2}}
KEPT: dict[str, Any] = {"training": {"optimizer_state": "kept"}}
ROUNDS = (1, 2, 3)


def rounds(given: Any) -> tuple[list[bytes], RecordDict]:
    """Train one client for some rounds, with an average of one: what it sends comes back."""
    state = RecordDict()
    shared = client(given).get_parameters({})
    for round_ in ROUNDS:
        shared = [np.array(array) for array in one_round(client(given, state=state), round_, shared)[0]]
    return [array.tobytes() for array in shared], state


def multitask_by_hand(given: Any) -> list[bytes]:
    """Multitask training as one loop over all rounds with one Adam of torch's."""
    learner = client(given)
    nets = learner._load(learner.get_parameters({}), {})
    encoder, decoder, settings = nets.encoder.train(), nets.decoder.train(), given.training
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=settings.lr, fused=True)
    rows, labels = learner.samples
    images = learner.session.images(rows)
    for round_ in ROUNDS:
        generator = learner.session.generator("training", round_)
        state = ChannelState(generator)
        for _ in range(settings.epochs):
            order = torch.randperm(len(rows), generator=generator)
            for batch in torch.split(order, settings.batch_size):
                adam.zero_grad()
                cross_entropy(decoder(learner.channel(encoder(images[batch]), state)), labels[batch]).backward()
                adam.step()
    return [tensor.numpy().tobytes() for tensor in encoder.state_dict().values()]


def joint_by_hand(given: Any) -> list[bytes]:
    """Joint training as one loop over all rounds with one Adam of torch's."""
    learner = client(given)
    encoder, decoder, settings = learner.build_encoder().train(), learner.build_decoder().train(), given.training
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=settings.lr, fused=True)
    for round_ in ROUNDS:
        generator = learner.session.generator("minibatches", round_)
        batches = torch.split(*minibatches(len(learner.train_rows), settings, generator))
        for step, batch in enumerate(batches):
            adam.zero_grad()
            images, labels = learner.session.images(learner.train_rows[batch]), learner.train_labels[batch]
            received = learner.send(encoder(images), learner.uplink(round_, step), learner.channel)
            cross_entropy(decoder(received), labels).backward()
            adam.step()
    return [tensor.numpy().tobytes() for part in (encoder, decoder) for tensor in part.state_dict().values()]


@pytest.mark.parametrize(("learner", "by_hand"), [("multitask", multitask_by_hand), ("joint", joint_by_hand)])
def test_kept_moments_make_rounds_one_uninterrupted_trajectory(learner: str, by_hand: Any) -> None:
    expected = by_hand(scenario(learner, ADAM))
    assert rounds(scenario(learner, ADAM, KEPT))[0] == expected
    assert rounds(scenario(learner, ADAM))[0] != expected


STEPS = 3 * 2 * 3  # rounds, epochs, minibatches of 16, 16 and 8 images
RECORDS = {
    "multitask": {"training/optimizer": 12},
    "joint": {"training/optimizer": 12},
    "split": {"training/optimizer": 12},
    "multi-receiver": {"training/optimizer": 12},
    "cooperative": {f"optimizer/{task}/moments": 12 for task in ("t1", "t2")} | {"common-optimizer/moments": 9},
}


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_keeps_its_moments_or_forgets_them(learner: str) -> None:
    """Adam counts its steps: with kept moments those of all rounds, with fresh ones none outlives its round."""
    common = {"learner": {"common": {"epochs": 1}}} if learner == "cooperative" else {}
    _, state = rounds(scenario(learner, ADAM, KEPT, common))
    kept = {f"{name}/{key}": array.numpy() for name, record in state.items() for key, array in record.items()}
    for name in RECORDS[learner]:
        steps = kept[name][-1]  # the last parameter's, packed at the end
        assert steps == (9 if name.startswith("common") else STEPS)
    _, state = rounds(scenario(learner, ADAM, common))
    fresh = {f"{name}/{key}": array.numpy() for name, record in state.items() for key, array in record.items()}
    for name in RECORDS[learner]:
        assert name not in fresh or fresh[name][-1] == STEPS / len(ROUNDS)


class Tiny(BaseLearner):
    """One weight w with the loss w^2 / 2."""

    def shared(self) -> Arrays:
        return {"w": np.ones((1, 1), np.float32)}

    def fit(self, parameters: Any, config: Any) -> Any:
        network = nn.Linear(1, 1, bias=False)
        network.weight.data = torch.tensor(parameters[0])
        with self.optimizer([network], 1) as optimizer:
            optimizer.step([network.weight.detach().clone()])
        return [network.weight.detach().numpy()], 1, {}


@pytest.mark.parametrize("kept", [False, True])
def test_two_rounds_of_a_step_each_by_hand(kept: bool) -> None:
    """Adam: m = 0.9 m + 0.1 g, v = 0.999 v + 0.001 g^2, w -= lr m / (1 - 0.9^t) / (sqrt(v / (1 - 0.999^t)) + eps)."""
    given = scenario("multitask", ADAM, KEPT if kept else {})
    state, w = RecordDict(), np.ones((1, 1), np.float32)
    for round_ in (1, 2):
        session = Session(Context(0, 0, {}, state, {}), Trial(given, "a", 0), 0, ProcessCache(), None)
        (w,), _, _ = Tiny(session).fit([w], {"server-round": round_})
    value, m, v = 1.0, 0.0, 0.0
    for t in (1, 2):
        if not kept:
            m, v, t = 0.0, 0.0, 1
        m, v = 0.9 * m + 0.1 * value, 0.999 * v + 0.001 * value**2
        value -= 0.01 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
    assert w.item() == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("optimizer_state", ["fresh", "kept"])
def test_the_servers_half_of_split_training_follows_the_same_rule(optimizer_state: str, tmp_path: Path) -> None:
    """With decoders of their own and without a pull, split clients are local ones under either rule."""
    changes = ["rounds=3", "clients.count=3", "data.q=12", f'training.optimizer_state="{optimizer_state}"']
    changes += ["arms.fedproto.lambda_ms=0", "arms.fedproto.original=true", "model.encoder.nf=4"]
    done = semfed.run("fedcl-digits", seeds=[0], arms=["fedproto", "local"], overrides=changes, out=tmp_path / "run")
    split, local = (done.summary["arms"][arm]["final"] for arm in ("fedproto", "local"))
    assert split["loss/average"]["mean"] == pytest.approx(local["loss/average"]["mean"], abs=1e-4)


def test_a_cohort_goes_on_from_the_moments_that_its_clients_keep(tmp_path: Path) -> None:
    """Up to rounding, as alone; with fresh moments the third round would be another one."""
    changes = ["rounds=3", "clients.count=4", "data.q=12", 'model.encoder="mlp"']
    given: dict[str, Any] = {"seeds": [0], "arms": ["fedavg", "local"]}
    losses = []
    for name, size, state in (("alone", 1, "kept"), ("beside", 4, "kept"), ("fresh", 1, "fresh")):
        overrides = [*changes, f"training.optimizer_state={state}"]
        done = semfed.run("fedcl-digits", **given, overrides=overrides, cohort=size, out=tmp_path / name)
        losses.append({arm: told["final"]["loss/average"]["mean"] for arm, told in done.summary["arms"].items()})
    alone, beside, fresh = losses
    assert beside == pytest.approx(alone, abs=1e-3)
    assert all(abs(fresh[arm] - alone[arm]) > 1e-2 for arm in alone)


def test_the_resolved_scenario_shows_the_rule() -> None:
    assert 'optimizer_state = "fresh"' in scenario("joint").to_toml()
    assert 'optimizer_state = "kept"' in scenario("joint", KEPT).to_toml()
