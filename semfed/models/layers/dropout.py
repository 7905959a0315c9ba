"""Dropout that draws from a generator of its own instead of torch's global one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semfed.errors import ScenarioError
from semfed.models.layers.apart import apart


class Dropout(nn.Module):
    """Set every element to zero with probability `rate` while training, and scale the others up.

    Parameters
    ----------
    rate : float
        In [0, 1).

    Attributes
    ----------
    generator : torch.Generator, or sequence of them, or None
        Where masks come from; several for as many models that are stacked in ``torch.vmap``.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.generator: torch.Generator | Sequence[torch.Generator] | None = None

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
        if isinstance(self.generator, torch.Generator):
            return x * self._kept(x, self.generator) / (1 - self.rate)
        generators = self.generator

        def masks(stacked: Tensor) -> Tensor:
            return torch.stack([self._kept(one, own) for one, own in zip(stacked, generators, strict=True)])

        kept: Tensor = apart(masks, x)
        return x * kept / (1 - self.rate)

    def _kept(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device) >= self.rate


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
