"""Rician fading: a direct path beside the scattered ones."""

from pydantic import Field
from torch import Tensor

from semfed.channels.base import ChannelState
from semfed.channels.fading import Fading, FadingSettings, complex_gaussian


class Rician(Fading):
    """h = sqrt(K / (K + 1)) + sqrt(1 / (K + 1)) g with g ~ CN(0, 1); see `Fading`.

    With K = 0 it is Rayleigh fading, number for number; with K = inf there is no fading.
    """

    class Settings(FadingSettings):
        """The direct path."""

        k_factor: float = Field(default=3.0, ge=0, allow_inf_nan=True)
        """Power of the direct path over that of the scattered ones, not in dB; ``inf`` for the direct path alone."""

    settings: Settings

    def coefficients(self, shape: tuple[int, ...], like: Tensor, state: ChannelState) -> Tensor:
        """Draw h; see `Fading.coefficients`. The direct path has phase 0."""
        scattered = 1 / (1 + self.settings.k_factor)
        h: Tensor = complex_gaussian(shape, like, state) * float(scattered**0.5)
        h[0] += (1 - scattered) ** 0.5
        return h
