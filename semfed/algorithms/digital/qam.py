"""Square QAM with Gray labels: bits to symbols, and symbols in noise to log-likelihood ratios.

A symbol of 2 m bits has its first m on the real part and the others on the imaginary part, each in Gray order, so that
neighbours differ in one bit. The mean power over all symbols is 1.
"""

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Order = Literal[4, 16, 64]


def bits_per_symbol(order: Order) -> int:
    """Return log2 of the number of symbols."""
    return order.bit_length() - 1


@lru_cache(maxsize=8)
def axis(order: Order) -> tuple[Tensor, Tensor]:
    """Return what one part of a symbol can be.

    Returns
    -------
    levels : Tensor, shape (levels,), float32
        Ascending.
    labels : Tensor, shape (levels, m), bool
        Their bits, the most significant first.
    """
    half = bits_per_symbol(order) // 2
    count = 2**half
    index = torch.arange(count)
    gray = index ^ (index >> 1)
    labels = (gray[:, None] >> torch.arange(half - 1, -1, -1)) & 1
    return (2.0 * index - (count - 1)) * math.sqrt(1.5 / (order - 1)), labels.bool()


def modulate(bits: Tensor, order: Order) -> Tensor:
    """Map bits to symbols.

    Parameters
    ----------
    bits : Tensor, shape (batch, n), bool
        A multiple of `bits_per_symbol`.
    order : {4, 16, 64}

    Returns
    -------
    Tensor, shape (batch, 2 n / bits_per_symbol), float32
        Real and imaginary part of each symbol, one after the other, as channels take complex symbols.
    """
    levels, labels = (part.to(bits.device) for part in axis(order))
    half = labels.shape[1]
    weights = 2 ** torch.arange(half - 1, -1, -1, device=bits.device)
    place = torch.empty(len(labels), dtype=torch.int64, device=bits.device)
    place[(labels * weights).sum(1)] = torch.arange(len(labels), device=bits.device)
    values = (bits.reshape(len(bits), -1, half) * weights).sum(2)
    return levels[place[values]]


def logits(received: Tensor, order: Order, noise_variance: float) -> Tensor:
    """Return max-log likelihood ratios of the bits, log p(1) / p(0), so that a positive one means 1.

    The larger of the two sums over symbols is replaced by its largest term each (Viterbi, IEEE JSAC, 1998).

    Parameters
    ----------
    received : Tensor, shape (batch, numbers), float
        Real and imaginary parts, as from `modulate`.
    order : {4, 16, 64}
    noise_variance : float
        Per complex symbol.

    Returns
    -------
    Tensor, shape (batch, n), float32
    """
    levels, labels = (part.to(received.device) for part in axis(order))
    distance = (received[..., None] - levels).square() / noise_variance  # the variance of each part is half of that
    nearest = [
        torch.stack([distance[..., labels[:, bit] == value].amin(-1) for bit in range(labels.shape[1])], dim=-1)
        for value in (False, True)
    ]
    return (nearest[0] - nearest[1]).reshape(len(received), -1)
