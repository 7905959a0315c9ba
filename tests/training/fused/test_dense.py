"""Gradients of fully connected networks in closed form, against autograd."""

import pytest
import torch
from torch import nn

from semfed.models.layers.dropout import Dropout
from semfed.training.fused.dense import Dense

NETWORKS = {
    "linear": nn.Sequential(nn.Linear(6, 3)),
    "decoder": nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)),
    "trunk": nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU()),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients_are_those_of_autograd(name: str) -> None:
    network = NETWORKS[name].double()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data.normal_(generator=generator)
    x = torch.randn(20, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    expected = network(x)
    of_x, *of_parameters = torch.autograd.grad(expected, [x, *network.parameters()], slope)

    dense = Dense.of(network)
    assert dense is not None
    values = dense.forward(x.detach())
    torch.testing.assert_close(values[-1], expected.detach())

    start = [parameter.detach().clone() for parameter in network.parameters()]
    for to_input in (True, False):
        passed_on = dense.descend(slope, values, 0.1, to_input=to_input)
        if to_input:
            torch.testing.assert_close(passed_on, of_x)
        moved = [p - 0.1 * g for p, g in zip(start, of_parameters, strict=True)]
        torch.testing.assert_close([p.detach() for p in network.parameters()], moved)
        torch._foreach_copy_([p.detach() for p in network.parameters()], start)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(2, 2), nn.Tanh()),
        nn.Sequential(nn.ReLU(), nn.Linear(2, 2)),
        nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.ReLU()),
        nn.Sequential(Dropout(0.1), nn.Linear(2, 2)),
        nn.Sequential(nn.Linear(2, 2, bias=False)),
        nn.Conv2d(1, 1, 3),
    ],
    ids=repr,
)
def test_other_networks_have_none(network: nn.Module) -> None:
    assert Dense.of(network) is None
