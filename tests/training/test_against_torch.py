"""Optimisers, clipping and schedules against torch's own, step by step."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler

from semfed.models.mlp import MLP
from semfed.scenario import TrainingSettings
from semfed.scenario.schedule import Schedule
from semfed.training.fused.fully_connected import FullyConnectedStep
from semfed.training.fused.stacked import Cohort
from semfed.training.optimizers import make_optimizer
from semfed.training.step import AutogradStep, make_step
from tests.training.pairs import Pair, pair, states_of

NORM = 0.35
"""Between the norms of the cohort's clients."""
SHAPES = [(4, 3), (4,), (), (2, 3, 2, 2)]
KINDS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.1},
    "sgd-decay": {"lr": 0.1, "weight_decay": 0.05},
    "sgd-momentum": {"lr": 0.1, "momentum": 0.9},
    "adam": {"optimizer": "adam", "lr": 0.02},
    "adam-decay": {"optimizer": "adam", "lr": 0.02, "weight_decay": 0.1},
    "adamw": {"optimizer": "adamw", "lr": 0.02, "weight_decay": 0.1},
}


def theirs(given: dict[str, Any], parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    rest = {key: value for key, value in given.items() if key != "optimizer"}
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}.get(given.get("optimizer", ""), torch.optim.SGD)
    return kind(parameters, **rest)  # type: ignore[operator]


@pytest.mark.parametrize("norm", [None, 0.5, 3.0, 1e6])
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_is_that_of_torch(kind: str, norm: float | None) -> None:
    draws = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=draws) for shape in SHAPES]
    ours, reference = ([nn.Parameter(tensor.clone()) for tensor in start] for _ in range(2))
    mine = make_optimizer(TrainingSettings(**KINDS[kind], clip_grad_norm=norm), ours)
    other = theirs(KINDS[kind], reference)
    clipped = 0
    for step in range(12):
        gradients = [(1 + step % 3) * torch.randn(shape, generator=draws) for shape in SHAPES]
        mine.step([gradient.clone() for gradient in gradients])
        for parameter, gradient in zip(reference, gradients, strict=True):
            parameter.grad = gradient.clone()
        if norm is not None:
            clipped += float(nn.utils.clip_grad_norm_(reference, norm)) > norm
        other.step()
        for one, two in zip(ours, reference, strict=True):
            assert torch.allclose(one, two, rtol=1e-6, atol=1e-7), step
    assert clipped == (0 if norm in (None, 1e6) else 12)


def test_a_clipped_gradient_by_hand() -> None:
    """(3, 4) and 12 have norm 13; halved to 6.5, each is halved."""
    pair_ = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(()))]
    make_optimizer(TrainingSettings(lr=1.0, clip_grad_norm=6.5), pair_).step(
        [torch.tensor([3.0, 4.0]), torch.tensor(12.0)]
    )
    assert torch.allclose(pair_[0], -torch.tensor([1.5, 2.0]))
    assert torch.allclose(pair_[1], -torch.tensor(6.0))


def test_the_proximal_term_is_clipped_with_the_loss() -> None:
    """As for a torch user who adds mu / 2 |w - w0|^2 to the loss and clips what ``backward`` leaves."""
    mu, norm = 5.0, 0.7
    ours, reference = (nn.Parameter(torch.ones(3)) for _ in range(2))
    mine = make_optimizer(TrainingSettings(lr=0.1, clip_grad_norm=norm), [ours], mu=mu, shared=[ours])
    other, received = torch.optim.SGD([reference], lr=0.1), torch.ones(3)
    for k in range(5):
        slope = torch.tensor([1.0, -2.0, 0.5]) * (k + 1)
        mine.step([slope])
        other.zero_grad()
        ((reference * slope).sum() + mu / 2 * (reference - received).square().sum()).backward()
        nn.utils.clip_grad_norm_([reference], norm)
        other.step()
        assert torch.allclose(ours, reference, atol=1e-7)


SCHEDULES: dict[str, tuple[dict[str, Any], Any]] = {
    "step": ({"name": "step", "step_size": 3, "gamma": 0.5}, lambda o, n: lr_scheduler.StepLR(o, 3, 0.5)),
    "step-default": ({"name": "step", "step_size": 4}, lambda o, n: lr_scheduler.StepLR(o, 4)),
    "cosine": ({"name": "cosine"}, lambda o, n: lr_scheduler.CosineAnnealingLR(o, n)),
    "cosine-floor": (
        {"name": "cosine", "T_max": 5, "eta_min": 0.01},
        lambda o, n: lr_scheduler.CosineAnnealingLR(o, 5, 0.01),
    ),
    "warmup": ({"warmup": 4}, lambda o, n: lr_scheduler.LinearLR(o, total_iters=4)),
    "warmup-cosine": (
        {"name": "cosine", "warmup": 3, "start_factor": 0.1},
        lambda o, n: lr_scheduler.SequentialLR(
            o,
            [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.CosineAnnealingLR(o, n - 3)],
            milestones=[3],
        ),
    ),
    "warmup-step": (
        {"name": "step", "step_size": 2, "gamma": 0.3, "warmup": 2},
        lambda o, n: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, total_iters=2), lr_scheduler.StepLR(o, 2, 0.3)], milestones=[2]
        ),
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_round_has_the_learning_rate_of_torch(name: str) -> None:
    given, make = SCHEDULES[name]
    rounds = 12
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    scheduler = make(optimizer, rounds)
    settings = TrainingSettings(lr=0.2, schedule=Schedule(**given))
    found = []
    for round_ in range(1, rounds + 1):
        own = settings.in_round(round_, rounds)
        assert own.schedule is None
        found.append(own.lr)
        assert math.isclose(own.lr, optimizer.param_groups[0]["lr"], rel_tol=1e-12), round_
        optimizer.step()
        scheduler.step()
    assert len(set(found)) > 2
    assert settings.model_copy(update={"schedule": None}).in_round(3, rounds).lr == 0.2


def test_whoever_asks_without_a_round_is_told() -> None:
    settings = TrainingSettings(schedule={"name": "cosine"})
    with pytest.raises(ValueError, match="in_round"):
        make_optimizer(settings, [nn.Parameter(torch.zeros(1))])


def networks(seed: int) -> list[nn.Module]:
    torch.manual_seed(seed)
    encoder = MLP(MLP.Settings(hidden=(12,), outputs=6, final_relu=True)).build((1, 4, 4), 6)
    return [encoder, MLP(MLP.Settings(hidden=(5,))).build((6,), 3)]


def test_a_fused_step_is_not_chosen_where_it_could_not_clip() -> None:
    assert isinstance(make_step(Pair(), pair(networks(0)), TrainingSettings(), additive=True), FullyConnectedStep)
    clipping = TrainingSettings(clip_grad_norm=1.0)
    assert isinstance(make_step(Pair(), pair(networks(0)), clipping, additive=True), AutogradStep)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_cohort_clips_and_decays_client_by_client(kind: str) -> None:
    settings = TrainingSettings(**KINDS[kind], clip_grad_norm=NORM)
    alone = [networks(k) for k in range(3)]
    states = [[t.numpy().copy() for n in each for t in n.state_dict().values()] for each in alone]
    cohort = Cohort(Pair(), settings, pair(networks(9)), states)
    others = [theirs(KINDS[kind], [p for n in each for p in n.parameters()]) for each in alone]
    draws, clipped = torch.Generator().manual_seed(1), 0
    for _ in range(5):
        images = torch.tensor([0.1, 1.0, 10.0]).view(3, 1, 1, 1, 1) * torch.randn((3, 7, 1, 4, 4), generator=draws)
        labels = torch.randint(3, (3, 7), generator=draws)
        cohort.step(images, labels, [lambda x: x] * 3)
        for k, (each, other) in enumerate(zip(alone, others, strict=True)):
            other.zero_grad()
            cross_entropy(each[1](each[0](images[k])), labels[k]).backward()
            clipped += float(nn.utils.clip_grad_norm_([p for n in each for p in n.parameters()], NORM)) > NORM
            other.step()
    assert 0 < clipped < 15
    for each, state in zip(alone, states_of(cohort), strict=True):
        for mine, tensor in zip(state, [t for n in each for t in n.state_dict().values()], strict=True):
            np.testing.assert_allclose(mine, tensor.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optimizer": "adamw"}, "is 'adam': set weight_decay"),
        ({"clip_grad_norm": 0}, "greater than 0"),
        ({"schedule": "step"}, "needs step_size"),
        ({"schedule": "constant"}, "changes nothing"),
        ({"lr": 0.1, "schedule": {"name": "cosine", "eta_min": 0.1}}, "eta_min = 0.1 is not below lr = 0.1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrainingSettings(**given)
