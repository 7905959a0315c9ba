"""Training a chain of encoder, channel and decoder end to end, one minibatch at a time.

`AutogradChain` trains any networks with any optimiser. `FullyConnectedChain` trains networks of linear layers and ReLU
by plain SGD, with the backward pass written out: an ordinary step writes every weight's gradient to memory, reads it
again and updates the weight, which for a small batch costs more than the arithmetic; here the update happens within the
matrix product that makes the gradient. The numbers are the same up to float rounding.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from semfed.models.mlp import FullyConnected
from semfed.scenario import TrainingSettings
from semfed.training.fused.dense import Dense
from semfed.training.fused.fully_connected import FullyConnectedChain, Send
from semfed.training.optimizers import make_optimizer


class Chain(Protocol):
    """Changes an encoder and a decoder in place."""

    def step(self, inputs: Tensor, labels: Tensor, send: Send) -> Tensor:
        """Take one step on the mean cross-entropy of a minibatch.

        Parameters
        ----------
        inputs : Tensor, shape (batch, ...)
        labels : Tensor, shape (batch,), int64
        send : callable
            The channel.

        Returns
        -------
        Tensor, scalar
            The loss in nats before the step, detached.
        """

    def state(self) -> dict[str, Tensor]:
        """Return the optimiser's moments by name; the tensors are not copied."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""


def make_chain(
    settings: TrainingSettings, encoder: nn.Module, decoder: nn.Module, *, additive: bool = False, mu: float = 0.0
) -> Chain:
    """Return the quickest way to train two networks, with fresh optimiser state.

    Parameters
    ----------
    settings : TrainingSettings
    encoder, decoder : nn.Module
    additive : bool, default False
        Whether gradients pass the channel unchanged; see `Channel.additive`.
    mu : float, default 0
        Weight of the proximal term, which holds both networks to what they are now.
    """
    if settings.plain_sgd and not mu and isinstance(encoder, FullyConnected) and isinstance(decoder, FullyConnected):
        dense = Dense.of(encoder), Dense.of(decoder)
        if dense[0] is not None and dense[1] is not None:
            return FullyConnectedChain(settings.lr, dense[0], dense[1], additive=additive)
    return AutogradChain(settings, encoder, decoder, mu)


class AutogradChain:
    """Any networks and any optimiser.

    Parameters
    ----------
    settings : TrainingSettings
    encoder, decoder : nn.Module
    mu : float, default 0
        Weight of the proximal term; see `semfed.training.optimizers.Proximal`.
    """

    def __init__(self, settings: TrainingSettings, encoder: nn.Module, decoder: nn.Module, mu: float = 0.0) -> None:
        self.encoder, self.decoder = encoder, decoder
        self.parameters = [*encoder.parameters(), *decoder.parameters()]
        self.optimizer = make_optimizer(settings, self.parameters, mu=mu, shared=self.parameters)

    def step(self, inputs: Tensor, labels: Tensor, send: Send) -> Tensor:
        """Take one step; see `Chain.step`."""
        loss = cross_entropy(self.decoder(send(self.encoder(inputs))), labels)
        self.optimizer.step(torch.autograd.grad(loss, self.parameters))
        return loss.detach()

    def state(self) -> dict[str, Tensor]:
        """Return the optimiser's state."""
        return self.optimizer.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the optimiser's state over."""
        self.optimizer.load_state(state)
