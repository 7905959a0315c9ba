"""Dropout that draws from a generator of its own instead of torch's global one."""

import torch
from torch import Tensor, nn


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


def draw_from(network: nn.Module, generator: torch.Generator) -> None:
    """Let all dropout layers of a network draw from a generator on its device."""
    for module in network.modules():
        if isinstance(module, Dropout):
            module.generator = generator
