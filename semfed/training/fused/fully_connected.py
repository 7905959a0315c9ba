"""Plain SGD through two fully connected networks, the update within the product that makes the gradient."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from semfed.training.fused.dense import Dense
from semfed.training.losses import decision_loss_and_slope

Send = Callable[[Tensor], Tensor]
"""What happens between encoder and decoder: (batch, numbers) in and out, differentiable."""


class FullyConnectedChain:
    """Plain SGD over linear layers and ReLU; autograd sees the channel alone, or nothing if it is additive.

    Parameters
    ----------
    rate : float
        Learning rate.
    encoder, decoder : Dense
        They share the networks' parameters.
    additive : bool, default False
        Whether gradients pass the channel unchanged.
    """

    def __init__(self, rate: float, encoder: Dense, decoder: Dense, *, additive: bool = False) -> None:
        self.rate = rate
        self.encoder, self.decoder = encoder, decoder
        self.additive = additive

    @torch.no_grad()
    def step(self, inputs: Tensor, labels: Tensor, send: Send) -> Tensor:
        """Take one step; see `Chain.step`."""
        encoded = self.encoder.forward(inputs.flatten(1))
        if self.additive:
            received = send(encoded[-1])
        else:
            with torch.enable_grad():
                sent = encoded[-1].requires_grad_()
                heard = send(sent)
            received = heard.detach()
        decoded = self.decoder.forward(received)
        loss, slope = decision_loss_and_slope(decoded[-1], labels)
        slope = self.decoder.descend(slope, decoded, self.rate, to_input=True)
        if not self.additive:
            (slope,) = torch.autograd.grad(heard, sent, slope)
        self.encoder.descend(slope, encoded, self.rate, to_input=False)
        return loss

    def state(self) -> dict[str, Tensor]:
        """Plain SGD keeps nothing."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to take over."""
