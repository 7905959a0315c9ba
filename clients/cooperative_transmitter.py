"""The transmitter of a trained cooperative client: what it draws and sends for every task, as one module."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Transmitter(nn.Module):
    """Sends a message a task: a draw of the common unit's c, then a draw of the task's specific unit given c.

    Parameters
    ----------
    common : nn.Module or None
        Without a common unit the specific units see the image.
    specific : sequence of nn.Module
        All are a `semfed.models.layers.gaussian.GaussianEncoder`.
    """

    def __init__(self, common: nn.Module | None, specific: Sequence[nn.Module]) -> None:
        super().__init__()
        self.common, self.specific = common, nn.ModuleList(specific)

    def forward(self, images: Tensor, *draws: Tensor) -> tuple[Tensor, ...]:
        """Return the messages, shape (batch, numbers) each.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, height, width), float32
            Standardised.
        *draws : Tensor, float32
            Standard normal, shape (batch, width) each: task by task for c, if there is one, and for the message.
        """
        left, sent = list(draws), []
        seen = None if self.common is None else self.common(images)
        for unit in self.specific:
            inputs = images if seen is None else _drawn(seen, left.pop(0))
            sent.append(_drawn(unit(inputs), left.pop(0)))
        return tuple(sent)


def _drawn(gaussian: tuple[Tensor, Tensor], normal: Tensor) -> Tensor:
    mean, log_variance = gaussian
    return torch.addcmul(mean, torch.exp(0.5 * log_variance), normal)
