"""Additive white Gaussian noise."""

from torch import Tensor

from semfed.channels.base import Channel, ChannelState


class AWGN(Channel):
    """y = x + n with n ~ N(0, sigma^2) per real number; sigma = 10 ** (-snr_db / 20) on real symbols.

    Sigma 0.5, as in arXiv 2601.17419's simulation, is an SNR of 6.0206 dB.
    """

    @property
    def additive(self) -> bool:
        """True where nothing is normalised; a subclass, which may do anything, has to say so itself."""
        return type(self) is AWGN and self.settings.power == "none"

    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        """Add the noise; shape (batch, numbers) in and out."""
        return self.add_noise(x, state)
