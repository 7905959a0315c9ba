"""Nakagami-m fading: from half as spread as a normal amplitude to hardly any fading."""

import math

import torch
from pydantic import Field
from torch import Tensor

from semfed.channels.base import ChannelState
from semfed.channels.fading import Fading, FadingSettings


class Nakagami(Fading):
    """|h|^2 ~ Gamma(m, 1 / m), the phase uniform; see `Fading`.

    With m = 1 it is Rayleigh fading, with m = 1/2 a half-normal amplitude.
    """

    class Settings(FadingSettings):
        """The shape."""

        m: float = Field(default=2.0, ge=0.5, le=1e6)
        """1 / m is the variance of the received power."""

    settings: Settings

    def coefficients(self, shape: tuple[int, ...], like: Tensor, state: ChannelState) -> Tensor:
        """Draw h; see `Fading.coefficients`."""
        m = self.settings.m
        shapes = torch.full(shape, m, dtype=torch.float64, device=like.device)
        power = torch._standard_gamma(shapes, generator=state.generator) / m
        turns = torch.rand(shape, generator=state.generator, dtype=torch.float64, device=like.device)
        return torch.view_as_real(torch.polar(power.sqrt(), 2 * math.pi * turns)).movedim(-1, 0).to(like.dtype)
