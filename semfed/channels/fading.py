"""Flat fading with additive noise, on real or complex symbols, with perfect, imperfect or no knowledge of it."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from semfed.channels.base import Channel, ChannelSettings, ChannelState, gaussian


class FadingSettings(ChannelSettings):
    """Fading and receiver."""

    fading: Literal["symbol", "block"] = "symbol"
    """One coefficient per symbol, or one per sample."""
    receiver: Literal["raw", "phase", "mmse"] = "raw"
    """Leave the symbols as they arrive, turn their phase back, or equalise with y conj(h) / (|h|^2 + N0)."""
    csi_error: float = Field(default=0.0, ge=0)
    """Variance E|e|^2 of the receiver's error: it takes h + e for h, with e ~ CN(0, csi_error)."""

    def idle(self, scenario: Any, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        yield from super().idle(scenario, here)
        if self.symbols == "real" and self.receiver == "phase":
            yield f"{here}.receiver", "on real symbols the phase is turned back in any case; take 'raw' or 'mmse'"
        if self.symbols == "complex" and self.receiver == "raw":
            yield f"{here}.csi_error", "receiver 'raw' makes no use of what it knows of h; take 'phase' or 'mmse'"


class Fading(Channel):
    """y = h x + n with E|h|^2 = 1, and noise as in the base contract; a subclass draws h.

    On real symbols the phase is always compensated, so that h is an amplitude, and the noise is real. On complex
    symbols (pairs of neighbouring reals) the receiver decides what becomes of the phase.
    """

    Settings = FadingSettings
    settings: FadingSettings

    @abstractmethod
    def coefficients(self, shape: tuple[int, ...], like: Tensor, state: ChannelState) -> Tensor:
        """Draw h.

        Parameters
        ----------
        shape : tuple of int
            (batch, blocks, 1).
        like : Tensor
            For dtype and device.
        state : ChannelState
            With the generator to draw from.

        Returns
        -------
        Tensor, shape (2, *shape), float
            Real and imaginary parts.
        """

    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        """Fade, add noise, equalise; shape (batch, numbers) in and out."""
        batch, numbers = x.shape
        width = self.settings.reals_per_symbol
        symbols = x.view(batch, numbers // width, width)
        blocks = symbols.shape[1] if self.settings.fading == "symbol" else 1
        h = self.coefficients((batch, blocks, 1), x, state)
        deviation = self.deviation(symbols, state)
        if width == 2 and self.settings.receiver == "raw":
            return self.add_noise(_turn(symbols, h[0], h[1]), state, deviation).reshape(batch, numbers)
        known = h
        if self.settings.csi_error:
            known = h + math.sqrt(self.settings.csi_error / 2) * gaussian(h, state)
        amplitude = known.square().sum(0).sqrt()
        received = self.add_noise(_phase_corrected(symbols, h, known, amplitude), state, deviation)
        if self.settings.receiver == "mmse":
            received = received * (amplitude / (amplitude.square() + deviation**2 * width))
        return received.reshape(batch, numbers)


def complex_gaussian(shape: tuple[int, ...], like: Tensor, state: ChannelState) -> Tensor:
    """Draw from CN(0, 1): real and imaginary parts, shape (2, *shape), of the dtype and device of a tensor."""
    return torch.randn((2, *shape), generator=state.generator, dtype=like.dtype, device=like.device).mul_(0.5**0.5)


def _phase_corrected(symbols: Tensor, h: Tensor, known: Tensor, amplitude: Tensor) -> Tensor:
    """Return h x conj(known) / |known|; of real symbols the real part."""
    if known is h:
        return amplitude * symbols
    real = (h * known).sum(0) / amplitude
    if symbols.shape[-1] == 1:
        return real * symbols
    return _turn(symbols, real, (h[1] * known[0] - h[0] * known[1]) / amplitude)


def _turn(symbols: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
    """Multiply pairs of reals, shape (batch, symbols, 2), by complex numbers."""
    first, second = symbols[..., :1], symbols[..., 1:]
    return torch.cat([real * first - imaginary * second, imaginary * first + real * second], dim=-1)
