"""Training a chain of encoder, channel and decoder end to end, one minibatch at a time.

`AutogradChain` trains any networks with any optimiser. `FullyConnectedChain` trains networks of linear layers and ReLU
by plain SGD, with the backward pass written out: an ordinary step writes every weight's gradient to memory, reads it
again and updates the weight, which for a small batch costs more than the arithmetic; here the update happens within the
matrix product that makes the gradient. The numbers are the same up to float rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, nll_loss

from semfed.models.mlp import FullyConnected
from semfed.optimizers import make_optimizer
from semfed.scenario import TrainingSettings

Send = Callable[[Tensor], Tensor]
"""What happens between encoder and decoder: (batch, numbers) in and out, differentiable."""
Layer = tuple[Tensor, Tensor, bool]
"""Weight and bias, which share the network's memory, and whether a ReLU follows."""


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


def make_chain(settings: TrainingSettings, encoder: nn.Module, decoder: nn.Module) -> Chain:
    """Return the quickest way to train two networks, with fresh optimiser state."""
    parts = layers_of(encoder), layers_of(decoder)
    if settings.optimizer == "sgd" and not settings.momentum and not settings.weight_decay and all(parts):
        return FullyConnectedChain(settings.lr, *parts)
    return AutogradChain(settings, encoder, decoder)


class AutogradChain:
    """Any networks and any optimiser.

    Parameters
    ----------
    settings : TrainingSettings
    encoder, decoder : nn.Module
    """

    def __init__(self, settings: TrainingSettings, encoder: nn.Module, decoder: nn.Module) -> None:
        self.encoder, self.decoder = encoder, decoder
        self.parameters = [*encoder.parameters(), *decoder.parameters()]
        self.optimizer = make_optimizer(settings, self.parameters)

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


class FullyConnectedChain:
    """Plain SGD over linear layers and ReLU; autograd sees the channel alone.

    Parameters
    ----------
    rate : float
        Learning rate.
    encoder, decoder : sequence of Layer
        From `layers_of`.
    """

    def __init__(self, rate: float, encoder: Sequence[Layer], decoder: Sequence[Layer]) -> None:
        self.rate = rate
        self.encoder, self.decoder = encoder, decoder
        self._minus_one = torch.full((1, 1), -1.0, device=encoder[0][0].device)

    def step(self, inputs: Tensor, labels: Tensor, send: Send) -> Tensor:
        """Take one step; see `Chain.step`."""
        with torch.no_grad():
            encoded = forward(self.encoder, inputs.flatten(1))
        sent = encoded[-1].detach().requires_grad_()
        received = send(sent)
        with torch.no_grad():
            decoded = forward(self.decoder, received.detach())
            log_probabilities = log_softmax(decoded[-1], dim=1)
            # The gradient of the summed loss; the mean's 1/batch goes into the step size.
            gradient = log_probabilities.exp().scatter_add_(
                1, labels.unsqueeze(1), self._minus_one.expand(len(labels), 1)
            )
            size = self.rate / len(labels)
            gradient = descend(self.decoder, decoded, gradient, size)
        if received is not sent:
            (gradient,) = torch.autograd.grad(received, sent, gradient)
        with torch.no_grad():
            descend(self.encoder, encoded, gradient, size, below=False)
            return nll_loss(log_probabilities, labels)

    def state(self) -> dict[str, Tensor]:
        """Plain SGD keeps nothing."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to take over."""


def layers_of(network: nn.Module) -> list[Layer]:
    """Take a network apart; nothing if it is not made of linear layers and ReLU alone."""
    layers: list[Layer] = []
    for layer in network if isinstance(network, FullyConnected) else ():
        if isinstance(layer, nn.Linear):
            layers.append((layer.weight.detach(), layer.bias.detach(), False))
        elif isinstance(layer, nn.ReLU) and layers:
            layers[-1] = (*layers[-1][:2], True)
        elif not isinstance(layer, nn.Flatten):
            return []
    return layers


def forward(layers: Sequence[Layer], x: Tensor) -> list[Tensor]:
    """Return the input, shape (batch, numbers), and every layer's output."""
    passed = [x]
    for weight, bias, relu in layers:
        x = torch.addmm(bias, x, weight.t())
        passed.append(x.relu_() if relu else x)
    return passed


def descend(
    layers: Sequence[Layer], passed: Sequence[Tensor], gradient: Tensor, size: float, *, below: bool = True
) -> Tensor:
    """Go backward through layers and change them on the way.

    Parameters
    ----------
    layers : sequence of Layer
    passed : sequence of Tensor
        From `forward`.
    gradient : Tensor, shape (batch, outputs)
        Of the loss with respect to the last output.
    size : float
        What the gradients of the weights are multiplied by.
    below : bool
        Whether the gradient with respect to the input is wanted.

    Returns
    -------
    Tensor, shape (batch, inputs)
        The gradient with respect to the input, taken before the weights changed.
    """
    for index in range(len(layers) - 1, -1, -1):
        weight, bias, relu = layers[index]
        if relu:
            gradient = gradient * (passed[index + 1] > 0)
        lower = gradient @ weight if index or below else gradient
        weight.addmm_(gradient.t(), passed[index], alpha=-size)
        bias.sub_(gradient.sum(0), alpha=size)
        gradient = lower
    return gradient
