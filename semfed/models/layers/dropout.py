"""Dropout that draws from a generator of its own instead of torch's global one."""

import torch
from torch import Tensor, nn

from semfed.errors import ScenarioError


class Dropout(nn.Module):
    """Set every element to zero with probability `rate` while training, and scale the others up.

    Parameters
    ----------
    rate : float
        In [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape; `x` itself when evaluating.

        Raises
        ------
        ValueError
            If it trains before `draw_from` has named a generator.
        """
        if not self.training or self.rate == 0:
            return x
        if self.generator is None:
            raise ValueError("a Dropout that trains needs a generator: call draw_from(network, generator) first")
        kept = torch.rand(x.shape, generator=self.generator, dtype=x.dtype, device=x.device) >= self.rate
        return x * kept / (1 - self.rate)


def draws(network: nn.Module) -> bool:
    """Say whether a network has dropout layers."""
    return any(isinstance(module, Dropout) for module in network.modules())


def draw_from(network: nn.Module, generator: torch.Generator | None) -> None:
    """Let all dropout layers of a network draw from a generator on its device, or from none any more."""
    for module in network.modules():
        if isinstance(module, Dropout):
            module.generator = generator


def seeded(network: nn.Module) -> nn.Module:
    """Put our own dropout in the place of torch's, which draws from the global generator; weights keep their names.

    Raises
    ------
    ScenarioError
        If a network has a kind of dropout that cannot be replaced.
    """
    if type(network) is nn.Dropout:
        return Dropout(network.p)
    for name, child in network.named_children():
        setattr(network, name, seeded(child))
    if isinstance(network, nn.modules.dropout._DropoutNd):
        raise ScenarioError(
            f"a network has a layer {type(network).__name__}, whose masks no seed decides: use torch.nn.Dropout or "
            "semfed.models.layers.dropout.Dropout"
        )
    return network
