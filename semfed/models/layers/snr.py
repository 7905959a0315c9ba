"""Networks that are told the SNR, as side information beside their input."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from semfed.errors import SemfedError

HIDDEN = 16
"""Units of the hidden layer that makes factors of numbers and SNR."""
LIMIT_DB = 60.0
"""An SNR beyond, such as that of a channel without noise, is told as this one."""


class Attention(nn.Module):
    """Scale numbers by factors that depend on them and on the SNR: f = sigmoid(W2 relu(W1 [x, snr / 10] + b1) + b2).

    Source: the attention feature module of "Wireless Image Transmission Using Deep Source Channel Coding With Attention
    Modules" (arXiv 2012.00533), section III-B, on numbers instead of feature maps, which need no pooling.

    Parameters
    ----------
    numbers : int
        Of a sample.
    """

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.factors = nn.Sequential(
            nn.Linear(numbers + 1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, numbers), nn.Sigmoid()
        )

    def forward(self, x: Tensor, snr_db: Tensor) -> Tensor:
        """Return the scaled numbers, shape (batch, numbers), of these and of the SNRs, shape (batch, 1), in dB."""
        scaled: Tensor = x * self.factors(torch.cat([x, snr_db.clamp(-LIMIT_DB, LIMIT_DB) / 10], dim=1))
        return scaled


class SNRAware(nn.Module):
    """A network with an `Attention` where it meets the channel: on what an encoder gives out, or a decoder receives.

    Whoever calls the network says the SNR, or has said it before; see `tell`.

    Parameters
    ----------
    network : nn.Module
        Any encoder or decoder.
    numbers : int
        That it sends or receives a sample.
    part : {"encoder", "decoder"}

    Attributes
    ----------
    snr_db : float, Tensor of shape (batch, 1), or None
        What the network has been told, in dB: one SNR for all samples, or one each.
    """

    def __init__(self, network: nn.Module, numbers: int, part: Literal["encoder", "decoder"]) -> None:
        super().__init__()
        self.network, self.attention, self.part = network, Attention(numbers), part
        self.snr_db: float | Tensor | None = None

    def forward(self, x: Tensor, snr_db: float | Tensor | None = None) -> Tensor:
        """Return what the network makes of a batch.

        Parameters
        ----------
        x : Tensor, shape (batch, ...)
        snr_db : float or Tensor of shape (batch, 1), optional
            In dB; what has been told before by default.

        Raises
        ------
        SemfedError
            If it has not been told, or for another number of samples.
        """
        known = self.snr_db if snr_db is None else snr_db
        if known is None:
            raise SemfedError(
                f"model.snr_input: nobody has told the {self.part} the SNR: a learner with a fit() or evaluate() of "
                "its own has to, see semfed.models.layers.snr.telling"
            )
        if not isinstance(known, Tensor):
            known = x.new_full((x.shape[0], 1), known)
        elif known.shape[0] != x.shape[0]:  # len() would fix the number of samples of an export
            raise SemfedError(
                f"model.snr_input: the {self.part} has been told the SNR of {known.shape[0]} samples and got "
                f"{x.shape[0]}: send every sample of a minibatch once, or leave model.snr_input out"
            )
        if self.part == "decoder":
            made: Tensor = self.network(self.attention(x, known))
        else:
            made = self.attention(self.network(x), known)
        return made


def hearing(networks: Iterable[nn.Module]) -> list[SNRAware]:
    """Return what of networks wants to be told the SNR."""
    return [module for network in networks for module in network.modules() if isinstance(module, SNRAware)]


def tell(networks: Iterable[SNRAware], snr_db: float | Tensor | None) -> None:
    """Tell networks the SNR of what they work on from now on, in dB: one, or one each, shape (batch, 1)."""
    for network in networks:
        network.snr_db = snr_db


@contextmanager
def telling(networks: Sequence[SNRAware], snr_db: float | Tensor | None) -> Iterator[None]:
    """Tell networks the SNR for as long as this lasts, and then what they have been told before."""
    before = [network.snr_db for network in networks]
    tell(networks, snr_db)
    try:
        yield
    finally:
        for network, known in zip(networks, before, strict=True):
            network.snr_db = known
