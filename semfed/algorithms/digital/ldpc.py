"""The LDPC codes of 5G NR (3GPP TS 38.212, section 5.3.2), encoded and decoded by Sionna, an optional dependency.

A codeword has any length; its bits are interleaved for the symbols that they become. Decoding is belief propagation,
which ends as soon as the checksum holds.
"""

import importlib
from typing import Any

import torch
from torch import Tensor

from semfed.algorithms.digital import qam
from semfed.errors import ScenarioError

CHECKSUM_BITS = 24
"""Of the cyclic redundancy check by which a receiver knows that a frame is right; they are counted, and it is never
wrong, where a real one misses an error once in 2 ** 24."""
ITERATIONS = (5, 20)
"""Of the decoder: few for all frames, and then more for those that are not right yet."""
TOGETHER = 100
"""Frames that are decoded at once; their messages take some 100 kB each."""


def sionna() -> Any:
    """Import Sionna's LDPC codes.

    Raises
    ------
    ScenarioError
        If it is not installed.
    """
    try:
        return importlib.import_module("sionna.phy.fec.ldpc")
    except ImportError as error:
        raise ScenarioError(
            f"learner.code = 'ldpc' takes its code from Sionna, which cannot be imported ({error}): "
            "pip install 'semfed[digital]', or take 'capacity'"
        ) from error


def require_size(information: int, coded: int) -> None:
    """Refuse frames for which 5G has no code.

    Raises
    ------
    ValueError
    """
    least, most = CHECKSUM_BITS + 12, 8448
    if not least <= information <= most:
        raise ValueError(
            f"learner.rate makes frames of {information} information bits of {coded} coded ones: change it, the "
            f"modulation or channel.uses so that there are {least} to {most}"
        )


class Code:
    """One code for frames of one length.

    Parameters
    ----------
    information : int
        Bits of a frame before encoding, the checksum's included.
    coded : int
        Bits of a frame that are sent.
    order : {4, 16, 64}
        Of the QAM whose symbols they become.
    device : torch.device

    Raises
    ------
    ScenarioError
        If Sionna is not installed.
    """

    def __init__(self, information: int, coded: int, order: qam.Order, device: torch.device) -> None:
        ldpc, where = sionna(), str(device)
        self.information, self.coded, self.order = information, coded, order
        self._encoder = ldpc.LDPC5GEncoder(
            information, coded, num_bits_per_symbol=qam.bits_per_symbol(order), device=where
        )
        self._decoders = [
            ldpc.LDPC5GDecoder(self._encoder, num_iter=iterations, device=where) for iterations in ITERATIONS
        ]

    def encode(self, bits: Tensor) -> Tensor:
        """Encode frames.

        Parameters
        ----------
        bits : Tensor, shape (frames, information), bool

        Returns
        -------
        Tensor, shape (frames, coded), bool
        """
        encoded: Tensor = self._encoder(bits.float())
        return encoded > 0.5

    def decode(self, logits: Tensor, iterations: int = ITERATIONS[-1]) -> Tensor:
        """Decode frames.

        Parameters
        ----------
        logits : Tensor, shape (frames, coded), float32
            From `semfed.algorithms.digital.qam.logits`.
        iterations : int
            One of `ITERATIONS`.

        Returns
        -------
        Tensor, shape (frames, information), bool
        """
        decoded: Tensor = self._decoders[ITERATIONS.index(iterations)](logits)
        return decoded > 0.5

    def arrived(self, bits: Tensor, logits: Tensor) -> Tensor:
        """Say which frames are decoded without an error.

        Parameters
        ----------
        bits : Tensor, shape (frames, information), bool
            What was sent.
        logits : Tensor, shape (frames, coded), float32
            What was received.

        Returns
        -------
        Tensor, shape (frames,), bool
        """
        right = torch.zeros(len(bits), dtype=torch.bool, device=bits.device)
        for iterations in ITERATIONS:
            rest = (~right).nonzero()[:, 0]
            for part in torch.split(rest, TOGETHER) if len(rest) else ():
                right[part] = (self.decode(logits[part], iterations) == bits[part]).all(1)
        return right
