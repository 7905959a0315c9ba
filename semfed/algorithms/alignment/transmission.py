"""Messages over a user's MIMO channel, in the paper's units: the energy of one message is P, not of one symbol."""

import math

import torch
from torch import Tensor

from semfed.channels import ChannelState
from semfed.channels.mimo import MIMO, block_diagonal

POWER = 1.0
"""P, the energy of one message: tr(F F^H) for white features."""


class Radio:
    """K uses of a channel with a fixed matrix.

    Parameters
    ----------
    channel : MIMO
        Its matrix is fixed.

    Attributes
    ----------
    response : Tensor, shape (r, s) = (K N_R, K N_T), complex128
    noise : float
        Variance of a received complex symbol: P / (N_T K snr).
    """

    def __init__(self, channel: MIMO) -> None:
        if channel.response is None:
            raise ValueError("a radio needs a channel whose matrix is fixed: call fix()")
        self.channel = channel
        self.response = block_diagonal(channel.response, channel.settings.uses)
        self.noise = POWER / self.response.shape[1] * 10 ** (-channel.settings.snr_db / 10)

    def send(self, symbols: Tensor, state: ChannelState) -> Tensor:
        """Send messages, shape (s, messages), complex128; return what arrives, shape (r, messages)."""
        scale = math.sqrt(self.response.shape[1] / POWER)  # the channel's convention is unit power per symbol
        numbers = torch.view_as_real((scale * symbols).T.contiguous()).flatten(1)
        received = self.channel(numbers, state) / scale
        return torch.view_as_complex(received.unflatten(1, (-1, 2))).T
