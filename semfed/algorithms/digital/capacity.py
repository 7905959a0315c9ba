"""How many bits channel uses carry at most: what no code, however long, can exceed.

Power and noise are those of `semfed.channels.base`: unit power per symbol, noise of variance 10 ** (-snr_db / 10) per
symbol, and a real symbol carries half of what a complex one does. Capacity is a limit for long codes: a code of some
hundred symbols stays below it, so an image that is compressed to it bounds every digital scheme from above.
"""

import math
from typing import Literal

import torch
from torch import Tensor

Symbols = Literal["real", "complex"]


def bits(uses: int, snr_db: float, symbols: Symbols = "complex") -> float:
    """Return the capacity of a channel with Gaussian noise alone, for so many uses.

    That is k log2(1 + SNR) for complex symbols, and half of it for real ones (Shannon, 1948).

    Parameters
    ----------
    uses : int
        Channel uses k.
    snr_db : float
        ``inf`` for no noise, and for infinitely many bits.
    symbols : {"real", "complex"}

    Examples
    --------
    >>> bits(512, 0.0), round(bits(20, 10.0, "real"), 2)
    (512.0, 34.59)
    """
    if snr_db == math.inf:
        return math.inf
    return uses * math.log2(1 + 10 ** (snr_db / 10)) * (1.0 if symbols == "complex" else 0.5)


def faded_bits(gains: Tensor, uses: int, snr_db: float, symbols: Symbols = "complex") -> Tensor:
    """Return what each transmission can carry through the fading that it meets.

    It is the mutual information of Gaussian symbols, the sum over symbols of log2(1 + |h|^2 SNR), half of it for real
    ones: both sides know h, but the power is not adapted to it. A transmitter that does not know h cannot reach this
    for every image, so it is bounded by it, too. The mean over fading is the ergodic capacity (Tse and Viswanath,
    Fundamentals of Wireless Communication, 2005, section 5.4).

    Parameters
    ----------
    gains : Tensor, shape (transmissions, blocks), float
        |h|^2 of the symbols of a transmission: one of each, or one for all.
    uses : int
        Channel uses of a transmission.
    snr_db : float
    symbols : {"real", "complex"}

    Returns
    -------
    Tensor, shape (transmissions,), float64
    """
    if snr_db == math.inf:
        return torch.full((len(gains),), math.inf, dtype=torch.float64, device=gains.device)
    rates = torch.log2(1 + gains.double() * 10 ** (snr_db / 10)).mean(1)
    return rates * (uses if symbols == "complex" else uses / 2)
