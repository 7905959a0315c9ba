"""One step of local training: by autograd, or by a fused implementation where one exists for an objective's type."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from semfed.scenario import TrainingSettings
from semfed.training.fused.fully_connected import FullyConnectedStep
from semfed.training.objective import Batch, Networks, Objective, Send, require_scalar
from semfed.training.optimizers import make_optimizer


class Step(Protocol):
    """Changes networks in place."""

    def __call__(self, objective: Objective, batch: Batch, send: Send) -> Tensor:
        """Take one step on the mean loss of a minibatch; return it, a scalar, as it was before, detached."""

    def state(self) -> dict[str, Tensor]:
        """Return the optimiser's moments by name; the tensors are not copied."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""


def make_step(
    objective: Objective, nets: Networks, settings: TrainingSettings, *, additive: bool = False, mu: float = 0.0
) -> Step:
    """Return the quickest way to train an objective's networks, with fresh optimiser state.

    Parameters
    ----------
    objective : Objective
        Its type is looked at; every step is told again which one of the type it is for.
    nets : Networks
        Its networks.
    settings : TrainingSettings
    additive : bool, default False
        Whether gradients pass the channel unchanged; see `Channel.additive`.
    mu : float, default 0
        Weight of the proximal term, which holds the shared networks to what they are now.
    """
    fused = None if mu else FullyConnectedStep.of(objective, nets, settings, additive=additive)
    return fused or AutogradStep(nets, settings, mu)


def why_autograd(objective: Objective, nets: Networks, settings: TrainingSettings, *, mu: float = 0.0) -> str | None:
    """Say why `make_step` leaves an objective to autograd, None if it does not; arguments as there."""
    return "there is a proximal term" if mu else FullyConnectedStep.why_not(objective, nets, settings)


class AutogradStep:
    """Any objective and any optimiser.

    Parameters
    ----------
    nets : Networks
    settings : TrainingSettings
    mu : float, default 0
        Weight of the proximal term; see `semfed.training.optimizers.Proximal`.
    """

    def __init__(self, nets: Networks, settings: TrainingSettings, mu: float = 0.0) -> None:
        self.nets = nets
        self.optimizer = make_optimizer(settings, nets.parameters, mu=mu, shared=nets.shared_parameters)

    def __call__(self, objective: Objective, batch: Batch, send: Send) -> Tensor:
        """Take one step; see `Step`."""
        loss = objective.loss(self.nets, batch, send)
        require_scalar(loss)
        self.optimizer.step(torch.autograd.grad(loss, self.nets.parameters))
        return loss.detach()

    def state(self) -> dict[str, Tensor]:
        """Return the optimiser's state."""
        return self.optimizer.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the optimiser's state over."""
        self.optimizer.load_state(state)
