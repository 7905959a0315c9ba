"""Rayleigh fading with additive noise, on real or complex symbols, with or without knowledge of the fading."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from semfed.channels.base import Channel, ChannelSettings, ChannelState


class Rayleigh(Channel):
    """y = h x + n with h ~ CN(0, 1), so E|h|^2 = 1, and noise as in the base contract.

    On real symbols the phase is always compensated: h is a Rayleigh amplitude. On complex symbols (pairs of
    neighbouring reals) the receiver decides what becomes of the phase.
    """

    class Settings(ChannelSettings):
        """Fading and receiver."""

        fading: Literal["symbol", "block"] = "symbol"
        """One coefficient per symbol, or one per sample."""
        receiver: Literal["raw", "phase", "mmse"] = "raw"
        """Leave the symbols as they arrive, turn their phase back, or equalise with y conj(h) / (|h|^2 + N0)."""

        def idle(self, scenario: Any, here: str) -> Iterator[tuple[str, str]]:
            """Tell what has no effect; see `semfed.scenario.effects`."""
            if self.symbols == "real" and self.receiver == "phase":
                yield f"{here}.receiver", "on real symbols the phase is turned back in any case; take 'raw' or 'mmse'"

    settings: Settings

    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        """Fade, add noise, equalise; shape (batch, numbers) in and out."""
        batch, numbers = x.shape
        width = self.settings.reals_per_symbol
        symbols = x.view(batch, numbers // width, width)
        blocks = symbols.shape[1] if self.settings.fading == "symbol" else 1
        parts = torch.randn((2, batch, blocks, 1), generator=state.generator, dtype=x.dtype, device=x.device).mul_(
            0.5**0.5
        )
        amplitude = parts.square().sum(0).sqrt()
        turning = width == 2 and self.settings.receiver == "raw"
        faded = _turn(symbols, parts[0], parts[1]) if turning else amplitude * symbols
        received = self.add_noise(faded, state)
        if self.settings.receiver == "mmse":
            noise = self.settings.noise_std**2 * width
            received = received * (amplitude / (amplitude.square() + noise))
        return received.reshape(batch, numbers)


def _turn(symbols: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
    """Multiply pairs of reals, shape (batch, symbols, 2), by complex numbers."""
    first, second = symbols[..., :1], symbols[..., 1:]
    return torch.cat([real * first - imaginary * second, imaginary * first + real * second], dim=-1)
