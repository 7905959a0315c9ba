"""How trained networks decide: from an image to decisions, without messages, data or training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semfed.channels import ChannelState
from semfed.errors import SemfedError
from semfed.training.objective import Networks, Send

Noise = torch.Generator | Sequence[torch.Generator]
"""Where a channel draws from: one stream for all transmissions, or one each."""


class Transmission(nn.Module):
    """A channel that is given its random stream, and nothing else, with every call.

    Parameters
    ----------
    bind : callable
        From a `ChannelState` to what sends, such as `semfed.flower.client.learner.Learner.link`.
    """

    def __init__(self, bind: Callable[[ChannelState], Send]) -> None:
        super().__init__()
        self._bind = bind

    def forward(self, sent: Tensor | tuple[Tensor, ...], noise: Noise) -> Tensor | tuple[Tensor, ...]:
        """Return what is received.

        Parameters
        ----------
        sent : Tensor, shape (batch, numbers), or a tuple of them
            What the encoder gave out: of one transmission, or of several.
        noise : torch.Generator or sequence of torch.Generator

        Returns
        -------
        Tensor, shape (batch, numbers), or a tuple of them
            A broadcast gives what every receiver hears.
        """
        if isinstance(sent, tuple):
            each = [noise] * len(sent) if isinstance(noise, torch.Generator) else noise
            return tuple(self._one(symbols, own) for symbols, own in zip(sent, each, strict=True))
        heard = self._one(sent, noise if isinstance(noise, torch.Generator) else noise[0])
        return heard if isinstance(heard, Tensor) else tuple(heard)

    def _one(self, symbols: Tensor, noise: torch.Generator) -> Any:
        return self._bind(ChannelState(noise))(symbols)


class Receivers(nn.ModuleList):
    """Several decoders, each behind a channel of its own."""

    def forward(self, heard: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the logits of every receiver, shape (batch, values) each, of what it heard."""
        return tuple(decoder(received) for decoder, received in zip(self, heard, strict=True))


@dataclass(frozen=True)
class System:
    """A client's way from an image to decisions.

    Attributes
    ----------
    encoder : nn.Module
        From standardised images, shape (batch, channels, height, width), and the draws below, to what is sent: shape
        (batch, numbers), or a tuple with one of them a transmission.
    channel : nn.Module
        From that and a random stream to what is received; see `Transmission`.
    decoder : nn.Module
        From that to logits: shape (batch, values), or a tuple with one of them a task.
    values : mapping of str to tuple of str
        The tasks that are decided, in the order of the logits, each with the names of its values.
    streams : tuple of str
        By transmission, the purpose of the random stream that the learner tests with; see `semfed.seeding`.
    draws : tuple of tuple of int
        By transmission, how many standard normal numbers a stochastic encoder takes a sample, tensor by tensor; they
        come from the same streams, before the channel's noise.
    """

    encoder: nn.Module
    channel: nn.Module
    decoder: nn.Module
    values: Mapping[str, tuple[str, ...]]
    streams: tuple[str, ...] = ("evaluation",)
    draws: tuple[tuple[int, ...], ...] = ()


def pair(nets: Networks, bind: Callable[[ChannelState], Send], task: str, values: tuple[str, ...]) -> System:
    """Return the system of an encoder and a decoder, with a channel in between.

    Raises
    ------
    SemfedError
        If the networks are called otherwise: then the learner has to say how they decide.
    """
    if not {"encoder", "decoder"} <= {*nets.shared, *nets.private}:
        raise SemfedError(
            f"networks {sorted({*nets.shared, *nets.private})} are no encoder and decoder: say in the learner's "
            "system() how they decide"
        )
    return System(nets.encoder, Transmission(bind), nets.decoder, {task: values})
