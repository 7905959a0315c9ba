"""Rayleigh fading: many scattered paths and no direct one."""

from torch import Tensor

from semfed.channels.base import ChannelState
from semfed.channels.fading import Fading, complex_gaussian


class Rayleigh(Fading):
    """h ~ CN(0, 1); see `Fading`."""

    def coefficients(self, shape: tuple[int, ...], like: Tensor, state: ChannelState) -> Tensor:
        """Draw h; see `Fading.coefficients`."""
        return complex_gaussian(shape, like, state)
