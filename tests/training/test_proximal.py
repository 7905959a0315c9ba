"""The proximal term of FedProx against closed forms."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semfed import training
from semfed.models.mlp import MLP
from semfed.scenario import TrainingSettings
from semfed.training.fused.fully_connected import FullyConnectedStep
from semfed.training.fused.stacked import Cohort
from semfed.training.objective import Batch
from semfed.training.optimizers import make_optimizer
from semfed.training.step import AutogradStep, make_step
from tests.training.pairs import Pair, pair, states_of

CURVATURE = torch.tensor([1.0, 4.0, 0.5])
OPTIMUM = torch.tensor([2.0, -1.0, 3.0])
RECEIVED = torch.tensor([-1.0, 0.5, 0.0])


class Quadratic(nn.Module):
    """A loss sum_i a_i / 2 (w_i - w*_i)^2 whose gradient is a (w - w*)."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(RECEIVED.clone())

    def forward(self) -> Tensor:
        return 0.5 * (CURVATURE * (self.w - OPTIMUM).square()).sum()


def trained(settings: TrainingSettings, mu: float) -> Tensor:
    network, data = Quadratic(), torch.zeros(1)
    optimizer = make_optimizer(settings, network.parameters(), mu=mu, shared=network.parameters())
    generator = torch.Generator().manual_seed(0)
    training.fit(
        lambda *_: network(), [network], data, data, settings=settings, generator=generator, optimizer=optimizer
    )
    return network.w.detach()


@pytest.mark.parametrize("mu", [0.0, 0.1, 2.0, 15.0])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_ends_at_the_minimiser_of_the_proximal_objective(mu: float, optimizer: Any) -> None:
    """Li et al. 2020, eq. (2): argmin of the quadratic plus mu / 2 |w - w0|^2 is (a w* + mu w0) / (a + mu)."""
    expected = (CURVATURE * OPTIMUM + mu * RECEIVED) / (CURVATURE + mu)
    settings = TrainingSettings(epochs=3000, optimizer=optimizer, lr=0.1 if optimizer == "sgd" else 0.01)
    assert torch.allclose(trained(settings, mu), expected, atol=1e-4)


def test_two_steps_by_hand() -> None:
    mu, lr = 3.0, 0.1
    first = RECEIVED - lr * CURVATURE * (RECEIVED - OPTIMUM)  # at w0 the term has no slope
    second = first - lr * (CURVATURE * (first - OPTIMUM) + mu * (first - RECEIVED))
    assert torch.allclose(trained(TrainingSettings(epochs=1, lr=lr), mu), first, atol=1e-6)
    assert torch.allclose(trained(TrainingSettings(epochs=2, lr=lr), mu), second, atol=1e-6)


def test_a_large_mu_keeps_the_received_weights() -> None:
    """With lr = 1 / mu a step leads to w0 - lr times the last gradient, which vanishes as mu grows."""
    away = [
        (trained(TrainingSettings(epochs=50, lr=1 / mu), mu) - RECEIVED).abs().max().item() for mu in (10.0, 1e3, 1e5)
    ]
    assert away[0] > 100 * away[2]
    assert away[2] < 1e-4


def test_only_shared_weights_are_held_back() -> None:
    ours, theirs = (nn.ParameterList([RECEIVED.clone(), RECEIVED.clone()]) for _ in range(2))
    pulled = make_optimizer(TrainingSettings(lr=0.1), ours, mu=5.0, shared=[ours[0]])
    free = make_optimizer(TrainingSettings(lr=0.1), theirs)
    for _ in range(3):
        pulled.step([CURVATURE, CURVATURE])
        free.step([CURVATURE, CURVATURE])
    assert torch.equal(ours[1], theirs[1])
    assert ((ours[0] - RECEIVED).abs() < (theirs[0] - RECEIVED).abs()).all()


def networks(seed: int) -> list[nn.Module]:
    torch.manual_seed(seed)
    encoder = MLP(MLP.Settings(hidden=(12,), outputs=6, final_relu=True)).build((1, 4, 4), 6)
    return [encoder, MLP(MLP.Settings(hidden=(5,))).build((6,), 3)]


@pytest.mark.parametrize(
    "settings", [TrainingSettings(lr=0.1), TrainingSettings(optimizer="adam", lr=0.01)], ids=["sgd", "adam"]
)
def test_steps_and_cohorts_hold_to_what_they_started_from(settings: TrainingSettings) -> None:
    mu, alone = 2.0, [networks(k) for k in range(3)]
    by_hand = copy.deepcopy(alone)
    states = [[t.numpy().copy() for n in each for t in n.state_dict().values()] for each in alone]
    steps = [make_step(Pair(), pair(each), settings, additive=True, mu=mu) for each in alone]
    cohort = Cohort(Pair(), settings, pair(networks(9)), states, mu)
    assert all(isinstance(step, AutogradStep) for step in steps)
    quick = make_step(Pair(), pair(networks(0)), TrainingSettings(lr=0.1), additive=True)
    assert isinstance(quick, FullyConnectedStep)
    references: list[torch.optim.Optimizer] = [
        torch.optim.Adam([p for n in each for p in n.parameters()], lr=settings.lr)
        if settings.optimizer == "adam"
        else torch.optim.SGD([p for n in each for p in n.parameters()], lr=settings.lr)
        for each in by_hand
    ]
    received = [[p.detach().clone() for n in each for p in n.parameters()] for each in by_hand]
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        images = torch.randn((3, 7, 1, 4, 4), generator=generator)
        labels = torch.randint(3, (3, 7), generator=generator)
        cohort.step(images, labels, [lambda x: x] * 3)
        for k, each in enumerate(by_hand):
            steps[k](Pair(), Batch(images[k], labels[k]), lambda x: x)
            references[k].zero_grad()
            loss = nn.functional.cross_entropy(each[1](each[0](images[k])), labels[k])
            weights = [p for n in each for p in n.parameters()]
            loss = loss + sum(mu / 2 * (w - w0).square().sum() for w, w0 in zip(weights, received[k], strict=True))
            loss.backward()
            references[k].step()
    for k, state in enumerate(states_of(cohort)):
        expected = [t for n in by_hand[k] for t in n.state_dict().values()]
        mine = [t for n in alone[k] for t in n.state_dict().values()]
        for one, stacked, reference in zip(mine, state, expected, strict=True):
            assert torch.allclose(one, reference, atol=1e-5)
            assert torch.allclose(torch.from_numpy(stacked), reference, atol=1e-5)
