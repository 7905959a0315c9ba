from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import semfed
from semfed.channels import ChannelState
from semfed.channels.awgn import AWGN
from semfed.errors import ScenarioError
from semfed.models.layers.dropout import Dropout, draw_from
from semfed.models.mlp import MLP
from semfed.runs.folder import read_records
from semfed.scenario import TrainingSettings
from semfed.training.fused.stacked import Cohort, stacks
from semfed.training.modes import learning
from semfed.training.objective import Batch, Networks
from semfed.training.step import AutogradStep
from tests.training.pairs import Pair, pair, states_of


def networks(seed: int, *, normalised: bool) -> list[nn.Module]:
    torch.manual_seed(seed)
    plain = MLP(MLP.Settings(hidden=(12, 9), outputs=6, final_relu=True)).build((1, 4, 4), 6)
    convolved = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6)
    )
    return [convolved if normalised else plain, MLP(MLP.Settings(hidden=(5,))).build((6,), 3)]


def arrays(each: list[nn.Module]) -> list[np.ndarray]:
    return [tensor.numpy().copy() for network in each for tensor in network.state_dict().values()]


def weaker(x: Tensor) -> Tensor:
    return 0.7 * x


@pytest.mark.parametrize("normalised", [False, True], ids=["fully connected", "batch normalised"])
@pytest.mark.parametrize(
    "settings",
    [TrainingSettings(lr=0.1), TrainingSettings(lr=0.1, momentum=0.9), TrainingSettings(optimizer="adam", lr=0.001)],
    ids=["sgd", "momentum", "adam"],
)
def test_a_cohort_trains_as_its_clients_do_alone(settings: TrainingSettings, normalised: bool) -> None:
    alone = [networks(k, normalised=normalised) for k in range(4)]
    cohort = Cohort(Pair(), settings, pair(networks(9, normalised=normalised)), [arrays(each) for each in alone])
    steps = [AutogradStep(pair(each), settings) for each in alone]
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        images = torch.randn((4, 7, 1, 4, 4), generator=generator)
        labels = torch.randint(3, (4, 7), generator=generator)
        losses = cohort.step(images, labels, [weaker] * 4)
        expected = [step(Pair(), Batch(images[k], labels[k]), weaker) for k, step in enumerate(steps)]
        assert torch.allclose(losses, torch.stack(expected), atol=1e-5)
    # Adam turns the rounding errors of a bias before a normalisation, whose gradient is zero, into whole steps.
    tolerance = 1e-2 if normalised and settings.optimizer == "adam" else 1e-6
    for state, each in zip(states_of(cohort), alone, strict=True):
        for mine, reference in zip(state, arrays(each), strict=True):
            assert np.allclose(mine, reference, atol=tolerance)


def drawing(seed: int) -> list[nn.Module]:
    encoder, decoder = networks(seed, normalised=False)
    return [nn.Sequential(encoder, Dropout(0.5)), nn.Sequential(Dropout(0.25), decoder)]


def noisy(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    channel = AWGN(AWGN.Settings(uses=6, snr_db=3.0))
    return lambda x: channel(x, ChannelState(generator))


def test_dropout_and_noise_are_every_clients_own() -> None:
    """A client's one generator gives its masks and its noise, in the order in which it does alone."""
    settings, alone = TrainingSettings(lr=0.1), [drawing(k) for k in range(3)]
    nets = pair(drawing(9))
    cohort = Cohort(Pair(), settings, nets, [arrays(each) for each in alone])
    draws = torch.Generator().manual_seed(1)
    images, labels = torch.randn((3, 2, 7, 1, 4, 4), generator=draws), torch.randint(3, (3, 2, 7), generator=draws)

    def steps(own: Networks, k: int) -> Any:
        generator = torch.Generator().manual_seed(k)
        for network in own.drawing.values():
            draw_from(network, generator)
        for batch in zip(images[k], labels[k], strict=True):
            yield Batch(*batch), noisy(generator)

    losses = cohort.train([steps(nets, k) for k in range(3)])
    assert losses.shape == (3, 2)
    for k, (each, state) in enumerate(zip(alone, states_of(cohort), strict=True)):
        own = pair(each)
        step = AutogradStep(own, settings)
        with learning(*own):
            for batch, send in steps(own, k):
                step(Pair(), batch, send)
        for mine, reference in zip(state, arrays(each), strict=True):
            assert np.allclose(mine, reference, atol=1e-6)


class Receivers(Pair):
    """Two receivers behind a private decoder each, which hear a broadcast."""

    stacks = True

    def loss(self, nets: Networks, batch: Batch, send: Any) -> Tensor:
        heard = send(nets.encoder(batch.images))
        pairs = zip(nets.decoders, heard, batch.labels.T, strict=True)
        return torch.stack([cross_entropy(decoder(x), values) for decoder, x, values in pairs]).sum()


def broadcasting(seed: int) -> Networks:
    (encoder, first), (_, second) = networks(seed, normalised=False), networks(seed + 50, normalised=False)
    return Networks({"encoder": encoder}, {"decoders": nn.ModuleList([first, second])})


@pytest.mark.parametrize(
    "settings",
    [TrainingSettings(lr=0.1, momentum=0.9), TrainingSettings(optimizer="adam", lr=0.001, clip_grad_norm=0.5)],
    ids=["momentum", "adam, clipped"],
)
def test_broadcasts_private_networks_and_moments_are_stacked(settings: TrainingSettings) -> None:
    """Two cohorts of a step each, the second going on from the first one's moments, against two steps alone."""
    objective, alone = Receivers(), [broadcasting(k) for k in range(3)]
    steps = [AutogradStep(nets, settings, 0.3) for nets in alone]
    states = [[tensor.numpy().copy() for tensor in nets.state.values()] for nets in alone]
    draws, moments = torch.Generator().manual_seed(1), None

    def send(x: Tensor) -> tuple[Tensor, Tensor]:
        return weaker(x), x + 1

    for _ in range(2):
        images, labels = torch.randn((3, 7, 1, 4, 4), generator=draws), torch.randint(3, (3, 7, 2), generator=draws)
        cohort = Cohort(objective, settings, broadcasting(9), states, 0.3 if moments is None else 0.0)
        if moments is not None:
            cohort.load(moments)
            for step in steps:
                step.optimizer = step.optimizer.optimizer  # the pull was of the first step's weights
        losses = cohort.step(images, labels, [send] * 3)
        expected = [step(objective, Batch(images[k], labels[k]), send) for k, step in enumerate(steps)]
        assert torch.allclose(losses, torch.stack(expected), atol=1e-5)
        states, moments = states_of(cohort), [own for _, own in cohort.clients()]
    for k, nets in enumerate(alone):
        for mine, reference in zip(states[k], nets.state.values(), strict=True):
            assert np.allclose(mine, reference.numpy(), atol=1e-6)
        for name, reference in steps[k].state().items():
            assert torch.allclose(moments[k][name], reference, atol=1e-6), name


def test_whose_loss_is_stacked_says_so_itself() -> None:
    class Inherited(Pair):
        pass

    class Another(Pair):
        def loss(self, nets: Networks, batch: Batch, send: Any) -> Tensor:
            return super().loss(nets, batch, send)

    assert stacks(Pair)
    assert stacks(Inherited)
    assert stacks(Receivers)
    assert not stacks(Another)
    assert not stacks(nn.Module)


SHORT: dict[str, Any] = {"seeds": [0], "overrides": ["rounds=2", "clients.count=5", "data.q=12", "model.encoder.nf=4"]}


@pytest.mark.parametrize("cohort", [2, 8])
def test_a_run_in_cohorts_has_the_same_numbers_up_to_rounding(cohort: int, tmp_path: Any) -> None:
    given = {**SHORT, "arms": ["fedavg"]}
    given["overrides"] = [*SHORT["overrides"], "training.optimizer=sgd", "training.lr=0.05"]
    runs = [semfed.run("fedcl-digits", **given, cohort=size, out=tmp_path / f"{size}") for size in (1, cohort)]
    one, many = (read_records(run.folder) for run in runs)
    assert [(r.round, r.client, r.metric) for r in one] == [(r.round, r.client, r.metric) for r in many]
    for mine, other in zip(one, many, strict=True):
        tolerance = 0.0 if mine.metric.startswith(("cost", "failure")) else 1e-3
        assert mine.value == pytest.approx(other.value, abs=tolerance), mine.metric


def test_learners_without_cohorts_are_served_one_by_one(tmp_path: Any) -> None:
    given = {**SHORT, "arms": ["fedproto", "local"], "overrides": ["rounds=1", "clients.count=2", "data.q=12"]}
    runs = [semfed.run("fedcl-digits", **given, cohort=size, out=tmp_path / f"{size}") for size in (1, 4)]
    one, many = ([r for r in read_records(run.folder) if r.arm == "fedproto"] for run in runs)
    assert one == many


@pytest.mark.parametrize("option", ["cohort", "together"])
def test_where_no_learner_can_be_stacked_it_is_refused(option: str, tmp_path: Any) -> None:
    given: Any = {"arms": ["fedcl"], "seeds": [0, 1], option: 4, "out": tmp_path / "run"}
    with pytest.raises(ScenarioError, match=f"{option} = 4 has no effect: learner 'split' is trained alone, since it"):
        semfed.run("fedcl-digits", **given)


def test_cohorts_train_in_process_alone(tmp_path: Any) -> None:
    with pytest.raises(ScenarioError, match="cohort = 4 has no effect with engine 'ray': it is an option of inprocess"):
        semfed.run("digits", engine="ray", cohort=4, out=tmp_path / "run")
