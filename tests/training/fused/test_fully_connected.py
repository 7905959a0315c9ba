import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from semfed.models.mlp import MLP
from semfed.scenario import TrainingSettings
from semfed.training.fused.dense import Dense
from semfed.training.fused.fully_connected import FullyConnectedStep
from semfed.training.objective import Batch, Networks, Send
from semfed.training.step import AutogradStep, Step, make_step, why_autograd
from tests.training.pairs import Pair, pair

PLAIN = TrainingSettings(lr=0.1)
OBJECTIVE = Pair()


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    encoder = MLP(MLP.Settings(hidden=(12, 9), outputs=6, final_relu=True)).build((1, 4, 4), 6)
    return encoder, MLP(MLP.Settings(hidden=(5,))).build((6,), 3)


def step_of(
    networks: tuple[nn.Module, nn.Module], settings: TrainingSettings = PLAIN, *, additive: bool = False
) -> Step:
    return make_step(OBJECTIVE, pair(networks), settings, additive=additive)


def unchanged(x: Tensor) -> Tensor:
    return x


def shifted(x: Tensor) -> Tensor:
    return x + torch.linspace(0.5, 2, x.shape[1])


def scaled(x: Tensor) -> Tensor:
    return x * torch.linspace(0.5, 2, x.shape[1]) / x.norm(dim=1, keepdim=True).add(1)


@pytest.mark.parametrize(
    ("send", "additive"), [(unchanged, False), (unchanged, True), (shifted, False), (shifted, True), (scaled, False)]
)
def test_the_written_out_backward_pass_is_autograds(send: Callable[[Tensor], Tensor], additive: bool) -> None:
    ours, theirs = networks(), networks()
    quick, general = step_of(ours, additive=additive), AutogradStep(pair(theirs), PLAIN)
    assert isinstance(quick, FullyConnectedStep)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        batch = Batch(torch.randn((7, 1, 4, 4), generator=generator), torch.randint(3, (7,), generator=generator))
        assert torch.allclose(quick(OBJECTIVE, batch, send), general(OBJECTIVE, batch, send), atol=1e-6)
    for network, other in zip(ours, theirs, strict=True):
        for mine, reference in zip(network.parameters(), other.parameters(), strict=True):
            assert torch.allclose(mine, reference, atol=1e-6)
            assert mine.requires_grad


def test_minibatches_of_any_size_weigh_alike() -> None:
    ours, theirs = networks(), networks()
    quick, general = step_of(ours), AutogradStep(pair(theirs), PLAIN)
    for size in (1, 10):
        batch = Batch(torch.ones((size, 1, 4, 4)), torch.zeros(size, dtype=torch.int64))
        quick(OBJECTIVE, batch, scaled)
        general(OBJECTIVE, batch, scaled)
    assert torch.allclose(next(ours[0].parameters()), next(theirs[0].parameters()), atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        TrainingSettings(optimizer="adam"),
        TrainingSettings(momentum=0.9),
        TrainingSettings(weight_decay=0.1),
    ],
)
def test_other_optimisers_go_through_autograd(settings: TrainingSettings) -> None:
    assert isinstance(step_of(networks(), settings), AutogradStep)


def test_other_networks_go_through_autograd() -> None:
    encoder, decoder = networks()
    tanh = MLP(MLP.Settings(hidden=(12,), outputs=6, activation="tanh")).build((1, 4, 4), 6)
    assert Dense.of(tanh) is None
    assert isinstance(step_of((nn.Sequential(nn.Flatten(), nn.Linear(16, 6)), decoder)), AutogradStep)
    assert isinstance(step_of((tanh, decoder)), AutogradStep)
    assert isinstance(step_of((encoder, copy.deepcopy(tanh))), AutogradStep)


class Halved(Pair):
    def loss(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        return super().loss(nets, batch, send) / 2


def test_a_loss_of_another_kind_goes_through_autograd_and_is_the_one_that_is_minimised() -> None:
    ours, theirs = networks(), networks()
    half = make_step(Halved(), pair(ours), PLAIN, additive=True)
    assert isinstance(half, AutogradStep)
    whole = AutogradStep(pair(theirs), TrainingSettings(lr=0.05))
    batch = Batch(torch.ones((3, 1, 4, 4)), torch.zeros(3, dtype=torch.int64))
    assert half(Halved(), batch, scaled) == whole(OBJECTIVE, batch, scaled) / 2
    assert torch.allclose(next(ours[0].parameters()), next(theirs[0].parameters()), atol=1e-7)


def test_what_is_left_to_autograd_has_a_reason() -> None:
    def why(nets: tuple[nn.Module, nn.Module], settings: TrainingSettings = PLAIN, **options: float) -> str | None:
        return why_autograd(OBJECTIVE, pair(nets), settings, **options)

    encoder, decoder = networks()
    tanh = MLP(MLP.Settings(hidden=(5,), activation="tanh")).build((6,), 3)
    assert why((encoder, decoder)) is None
    assert why((encoder, decoder), mu=0.1) == "there is a proximal term"
    assert why((encoder, decoder), TrainingSettings(optimizer="adam")) == "the optimiser is not plain SGD"
    assert why((encoder, tanh)) == "the decoder's layers are not all linear or ReLU"
    assert why((nn.Flatten(), decoder)) == "the encoder's layers are not all linear or ReLU"
