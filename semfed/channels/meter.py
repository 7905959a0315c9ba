"""How strong a signal was: what was sent, what arrived of it, and the noise that came with it."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from semfed.events.metrics import Metric

LIMIT_DB = 300.0
"""Stands for an infinite ratio, which neither a mean over clients nor JSON can hold."""
SIGNALS = (
    Metric("power/transmit", role="signal", text="transmit power per symbol"),
    Metric("snr/received-db", "dB", over_clients="power-mean", role="signal", text="received SNR"),
)
"""What `Meter.metrics` tells."""


@dataclass
class Meter:
    """Energies of all transmissions so far, summed in float64; what is added up is |x|^2 of every symbol.

    Meters add up: the sum of two is that of the transmissions of both.

    Attributes
    ----------
    symbols : int
        Sent by the antennas.
    sent : float
        Their energy.
    arrived : float
        Energy of what arrived, without its noise: after fading or a channel matrix, before any equalisation.
    noise : float
        Energy of the noise that was added to it.
    received : int
        Real numbers that arrived.
    """

    symbols: int = 0
    sent: float = 0.0
    arrived: float = 0.0
    noise: float = 0.0
    received: int = 0

    def __add__(self, other: "Meter") -> "Meter":
        """Return the meter of the transmissions of both."""
        return Meter(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def note_sent(self, x: Tensor, symbols: int) -> None:
        """Add what an antenna sends: numbers of any shape that make so many symbols."""
        self.symbols += symbols
        self.sent += energy(x)

    def note_received(self, signal: Tensor, noise: Tensor | None) -> None:
        """Add what a receiver gets: tensors of one shape; None for no noise."""
        self.arrived += energy(signal)
        self.noise += 0.0 if noise is None else energy(noise)
        self.received += signal.numel()

    @property
    def snr_db(self) -> float:
        """10 log10 of the mean power that arrived over that of the noise, in dB, from -300 to 300 (`LIMIT_DB`)."""
        if self.noise == 0.0:
            return LIMIT_DB
        if self.arrived == 0.0:
            return -LIMIT_DB
        ratio = 10 * math.log10(self.arrived / self.noise)
        return min(max(ratio, -LIMIT_DB), LIMIT_DB)  # in this order, so that not a number stays that

    def metrics(self) -> dict[str, float]:
        """Return what a client tells of it.

        Returns
        -------
        dict
            ``power/transmit``, the mean power per transmitted symbol, and ``snr/received-db``, see `snr_db`; each is
            left out if nothing was measured: if nothing was sent, or if the channel tells nothing of its noise.
        """
        told = {"power/transmit": self.sent / self.symbols} if self.symbols else {}
        return told | ({"snr/received-db": self.snr_db} if self.received else {})


def energy(x: Tensor) -> float:
    """Return the sum of squares, taken in float64."""
    return float(x.detach().square().sum(dtype=torch.float64))
