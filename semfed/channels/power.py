"""Transmit power: how it is measured and how it is set to one."""

from typing import Literal

import torch
from torch import Tensor

Normalisation = Literal["sample", "batch", "none"]


def average_power(x: Tensor) -> Tensor:
    """Mean square of the transmitted numbers.

    Parameters
    ----------
    x : Tensor, any shape, float

    Returns
    -------
    Tensor, scalar, float
        Power per real number; a complex symbol made of two of them has twice that.
    """
    return x.square().mean()


def normalise(x: Tensor, rule: Normalisation, *, power: float = 1.0) -> Tensor:
    """Scale what is transmitted to an average power per real number.

    Parameters
    ----------
    x : Tensor, shape (batch, numbers), float
    rule : {"sample", "batch", "none"}
        Every row to that power, the batch as a whole, or nothing at all. A row of zeros stays zero.
    power : float, default 1
        Mean square of the result; 1/2 for pairs that make complex symbols of unit power.

    Returns
    -------
    Tensor, shape (batch, numbers), float
        Differentiable with respect to `x`.

    Examples
    --------
    >>> normalise(torch.tensor([[1.0, 7.0]]), "sample")
    tensor([[0.2000, 1.4000]])
    """
    if rule == "none":
        return x
    measured = x.square().mean(dim=-1, keepdim=True) if rule == "sample" else average_power(x)
    return x * torch.sqrt(power / measured.clamp_min(torch.finfo(x.dtype).tiny))
