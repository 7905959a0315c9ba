"""The server's half of split training: a decoder that learns from received features and tells their gradient.

Source: arXiv 2406.09182, eqs. (3) to (6): the encoder stays with the client, features come up, gradients go down.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semfed import models
from semfed.algorithms.contrastive import Centroids, client_loss
from semfed.channels import Channel, ChannelState
from semfed.scenario import Scenario
from semfed.training import learning
from semfed.training.optimizers import Optimizer


@dataclass
class ServerHalf:
    """The decoder instance of one client and its optimiser."""

    decoder: nn.Module
    optimizer: Optimizer

    def step(
        self,
        received: Tensor,
        labels: Tensor,
        centroids: Centroids | None = None,
        weight: float = 0.0,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[float, Tensor]:
        """Train on one minibatch.

        Parameters
        ----------
        received : Tensor, shape (batch, features), float
        labels : Tensor, shape (batch,), int64
        centroids, weight
            Of the regulariser; see `semfed.algorithms.contrastive.client_loss`.
        generator : torch.Generator, optional
            Where the decoder's dropout draws from.

        Returns
        -------
        loss : float
            In nats, before the step.
        gradient : Tensor, shape (batch, features)
            Of the loss with respect to what was received, taken before the step too, as in joint training.
        """
        features = received.detach().requires_grad_()
        with learning(self.decoder, generator=generator):
            loss = client_loss(self.decoder(features), features, labels, centroids, weight)
        gradient, *own = torch.autograd.grad(loss, [features, *self.decoder.parameters()])
        self.optimizer.step(own)
        return float(loss.detach()), gradient


def initial_decoder(scenario: Scenario, seed: int) -> nn.Module:
    """Make the decoder that all clients of a seed start from; their tasks have one alphabet."""
    width = scenario.channel.settings.width
    outputs = len(scenario.tasks[scenario.clients[0].task].symbols)
    return models.build(scenario.model.decoder, (width,), outputs=outputs, stream=(seed, "decoder", 0))


@torch.no_grad()
def average(decoders: Sequence[nn.Module], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted mean of equal networks' states, eq. (5), summed in float64 in the order given.

    Parameters
    ----------
    decoders : sequence of nn.Module
        At least one.
    weights : sequence of float
        Samples D_k of the clients; scaled to sum 1.
    """
    total = float(sum(weights))
    states = [decoder.state_dict() for decoder in decoders]
    mean: dict[str, Tensor] = {}
    for name, first in states[0].items():
        parts = [weight / total * state[name].double() for state, weight in zip(states, weights, strict=True)]
        mean[name] = sum(parts[1:], parts[0]).to(first.dtype)
    return mean


@torch.no_grad()
def send_gradient(gradient: Tensor, channel: Channel | None, generator: torch.Generator) -> Tensor:
    """Send a gradient over a noisy downlink.

    Parameters
    ----------
    gradient : Tensor, shape (batch, features), float
    channel : Channel or None
        None for a downlink without errors. The batch is sent at unit power per symbol, whatever the channel says of
        power; its root mean square travels beside it without error, so that the receiver finds the scale again.
    generator : torch.Generator
        Source of noise and fading.

    Returns
    -------
    Tensor, shape (batch, features), float
        What the client receives.
    """
    if channel is None:
        return gradient
    scale = gradient.square().mean().sqrt() * math.sqrt(channel.settings.reals_per_symbol)
    if scale == 0:
        return gradient
    return channel.distort(gradient / scale, ChannelState(generator)) * scale
