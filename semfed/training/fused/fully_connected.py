"""Plain SGD end to end through two fully connected networks, the update within the product that makes the gradient.

An ordinary step writes every weight's gradient to memory, reads it again and updates the weight, which for a small
batch costs more than the arithmetic; here the update happens within the matrix product that makes the gradient. The
numbers are those of autograd up to float rounding.
"""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from semfed.models.mlp import FullyConnected
from semfed.scenario import TrainingSettings
from semfed.training.end_to_end import EndToEnd
from semfed.training.fused.dense import Dense
from semfed.training.losses import decision_loss_and_slope
from semfed.training.objective import Batch, Networks, Objective, Send


class FullyConnectedStep:
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

    @classmethod
    def of(cls, objective: Objective, nets: Networks, settings: TrainingSettings, *, additive: bool) -> Self | None:
        """Return the step for an objective of type `EndToEnd`, None if a part of it is of another kind."""
        if cls.why_not(objective, nets, settings) is not None:
            return None
        encoder, decoder = Dense.of(nets.encoder), Dense.of(nets.decoder)
        return None if encoder is None or decoder is None else cls(settings.lr, encoder, decoder, additive=additive)

    @staticmethod
    def why_not(objective: Objective, nets: Networks, settings: TrainingSettings) -> str | None:
        """Say which part is of another kind, None if none is."""
        if type(objective).loss is not EndToEnd.loss:
            return "the loss is not that of EndToEnd"
        if not settings.plain_sgd:
            return "the optimiser is not plain SGD"
        for name in ("encoder", "decoder"):
            network = getattr(nets, name)
            if not isinstance(network, FullyConnected) or Dense.of(network) is None:
                return f"the {name}'s layers are not all linear or ReLU"
        return None

    @torch.no_grad()
    def __call__(self, objective: Objective, batch: Batch, send: Send) -> Tensor:
        """Take one step; see `semfed.training.step.Step`."""
        encoded = self.encoder.forward(batch.images.flatten(1))
        if self.additive:
            received = send(encoded[-1])
        else:
            with torch.enable_grad():
                sent = encoded[-1].requires_grad_()
                heard = send(sent)
            received = heard.detach()
        decoded = self.decoder.forward(received)
        loss, slope = decision_loss_and_slope(decoded[-1], batch.labels)
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
