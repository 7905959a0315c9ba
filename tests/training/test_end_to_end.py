import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from semfed.models.mlp import MLP
from semfed.scenario import TrainingSettings
from semfed.training.end_to_end import AutogradChain, FullyConnectedChain, make_chain
from semfed.training.fused.dense import Dense

PLAIN = TrainingSettings(lr=0.1)


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    encoder = MLP(MLP.Settings(hidden=(12, 9), outputs=6, final_relu=True)).build((1, 4, 4), 6)
    return encoder, MLP(MLP.Settings(hidden=(5,))).build((6,), 3)


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
    quick, general = make_chain(PLAIN, *ours, additive=additive), AutogradChain(PLAIN, *theirs)
    assert isinstance(quick, FullyConnectedChain)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        images = torch.randn((7, 1, 4, 4), generator=generator)
        labels = torch.randint(3, (7,), generator=generator)
        assert torch.allclose(quick.step(images, labels, send), general.step(images, labels, send), atol=1e-6)
    for network, other in zip(ours, theirs, strict=True):
        for mine, reference in zip(network.parameters(), other.parameters(), strict=True):
            assert torch.allclose(mine, reference, atol=1e-6)
            assert mine.requires_grad


def test_minibatches_of_any_size_weigh_alike() -> None:
    ours, theirs = networks(), networks()
    quick, general = make_chain(PLAIN, *ours), AutogradChain(PLAIN, *theirs)
    for size in (1, 10):
        images, labels = torch.ones((size, 1, 4, 4)), torch.zeros(size, dtype=torch.int64)
        quick.step(images, labels, scaled)
        general.step(images, labels, scaled)
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
    assert isinstance(make_chain(settings, *networks()), AutogradChain)


def test_other_networks_go_through_autograd() -> None:
    encoder, decoder = networks()
    tanh = MLP(MLP.Settings(hidden=(12,), outputs=6, activation="tanh")).build((1, 4, 4), 6)
    assert Dense.of(tanh) is None
    assert isinstance(make_chain(PLAIN, nn.Sequential(nn.Flatten(), nn.Linear(16, 6)), decoder), AutogradChain)
    assert isinstance(make_chain(PLAIN, tanh, decoder), AutogradChain)
    assert isinstance(make_chain(PLAIN, encoder, copy.deepcopy(tanh)), AutogradChain)
