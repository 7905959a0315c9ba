"""Clients of one architecture trained side by side: weights stacked, one set of operations for all of them.

A small network does not fill a GPU, but many of them together do. Clients stay apart: the gradient of the sum of
their losses holds every client's own gradient, SGD and Adam work element by element, norms to clip by are taken client
by client, and channels and dropout draw from every client's own generator. So the numbers are those of
`semfed.training.step.AutogradStep`, one client after the other, up to float rounding.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call

from semfed.models.layers.apart import Stacked, apart
from semfed.models.layers.dropout import Dropout
from semfed.scenario import TrainingSettings
from semfed.training.modes import learning
from semfed.training.objective import Batch, Networks, Objective, Send
from semfed.training.optimizers import make_optimizer


def stacks(kind: type) -> bool:
    """Say whether models with an objective of a class can be trained side by side.

    The class that has the loss says so itself, in its own body: see `Objective.stacks`.
    """
    owner = next((cls for cls in kind.__mro__ if "loss" in vars(cls)), object)
    return bool(vars(owner).get("stacks", False))


class Cohort:
    """Copies of an objective's networks, one a client.

    Parameters
    ----------
    objective : Objective
        One that `stacks`: what its loss is must be the same at every client.
    settings : TrainingSettings
    nets : Networks
        Lend their architecture; their own weights do not matter and do not change.
    states : sequence of sequence of ndarray
        Every client's weights and buffers, in the order of `Networks.state`.
    mu : float, default 0
        Weight of the proximal term, which holds every client's shared networks to its `states`.
    """

    def __init__(
        self,
        objective: Objective,
        settings: TrainingSettings,
        nets: Networks,
        states: Sequence[Sequence[npt.NDArray[Any]]],
        mu: float = 0.0,
    ) -> None:
        self._whole, self._nets = _Loss(objective, nets), nets
        self._dropout = [module for network in nets for module in network.modules() if isinstance(module, Dropout)]
        self._sources: list[list[Any]] = [[None] * len(self._dropout) for _ in states]
        shared, trained = (
            [f"{name}.{key}" for name, network in networks.items() for key, _ in network.named_parameters()]
            for networks in (nets.shared, {**nets.shared, **nets.private})
        )
        self._stacked: dict[str, Tensor] = {}
        for (name, like), arrays in zip(nets.state.items(), zip(*states, strict=True), strict=True):
            tensor = torch.from_numpy(np.stack(arrays)).to(like.device)
            self._stacked[name] = nn.Parameter(tensor) if name in trained else tensor
        self._leaves = [self._stacked[name] for name in trained]  # as in Networks.parameters
        held = [self._stacked[name] for name in shared]
        self._optimizer = make_optimizer(settings, self._leaves, mu=mu, shared=held, stacked=True)  # type: ignore[arg-type]

    def step(self, images: Tensor, labels: Tensor, sends: Sequence[Send]) -> Tensor:
        """Take one step for every client.

        Parameters
        ----------
        images : Tensor, shape (clients, batch, ...)
        labels : Tensor, shape (clients, batch, ...), int64
        sends : sequence of callable
            Every client's channel: to what its receiver hears, or to a tuple of what several do.

        Returns
        -------
        Tensor, shape (clients,)
            Mean losses in nats before the step, detached.
        """

        def send(x: Tensor) -> Any:
            def each(stacked: Tensor) -> Stacked:
                heard = [own(symbols) for own, symbols in zip(sends, stacked, strict=True)]
                if isinstance(heard[0], Tensor):
                    return torch.stack(heard)
                return tuple(torch.stack(same) for same in zip(*heard, strict=True))

            return apart(each, x)

        def loss(state: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
            value: Tensor = functional_call(self._whole, state, (Batch(images, labels), send))
            return value

        for module, own in zip(self._dropout, zip(*self._sources, strict=True), strict=True):
            module.generator = own
        state = {f"networks.{name}": tensor for name, tensor in self._stacked.items()}
        losses: Tensor = torch.vmap(loss)(state, images, labels)
        self._optimizer.step(torch.autograd.grad(losses.sum(), self._leaves))
        return losses.detach()

    def train(self, steps: Sequence[Iterator[tuple[Batch, Send]]]) -> Tensor:
        """Take all steps of a round, in training mode.

        Parameters
        ----------
        steps : sequence of iterator of (Batch, Send)
            Every client's, as many and of the same sizes. Who makes a step names the generator of the dropout layers,
            in the networks that lend the architecture: they are put back for every client.

        Returns
        -------
        Tensor, shape (clients, steps)
            Mean losses before every step, on the CPU.
        """
        losses = []
        with learning(*self._nets):
            while (taken := [self._next(k, own) for k, own in enumerate(steps)])[0] is not None:
                batches, sends = zip(*taken, strict=True)
                images, labels = (torch.stack(column) for column in zip(*batches, strict=True))
                losses.append(self.step(images, labels, sends))
        return torch.stack(losses, dim=1).cpu()

    def _next(self, client: int, steps: Iterator[tuple[Batch, Send]]) -> tuple[Batch, Send] | None:
        for module, own in zip(self._dropout, self._sources[client], strict=True):
            module.generator = own
        taken = next(steps, None)
        self._sources[client] = [module.generator for module in self._dropout]
        return taken

    def load(self, moments: Sequence[Mapping[str, Tensor]]) -> None:
        """Go on from every client's moments, each as `Optimizer.state` returns them; steps must be as many for all."""
        self._optimizer.load_state(
            {
                name: torch.stack([own[name] for own in moments]) if tensor.ndim else moments[0][name]
                for name, tensor in self._optimizer.state().items()
            }
        )

    def clients(self) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """Yield every client's weights and buffers, as in `Networks.state`, and its moments, as in `Optimizer.state`.

        They are on the CPU: one copy for all clients takes far less time than one a client.
        """
        state = {name: tensor.detach().cpu() for name, tensor in self._stacked.items()}
        moments = {name: tensor.cpu() for name, tensor in self._optimizer.state().items()}
        for k in range(len(self._sources)):
            own = {name: tensor[k] if tensor.ndim else tensor for name, tensor in moments.items()}
            yield {name: tensor[k] for name, tensor in state.items()}, own


class _Loss(nn.Module):
    """The objective as a module, so that other weights can be put in the places of its networks'."""

    def __init__(self, objective: Objective, nets: Networks) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({**nets.shared, **nets.private})
        self._objective, self._nets = objective, nets

    def forward(self, batch: Batch, send: Send) -> Tensor:
        """Return the mean loss of a minibatch."""
        return self._objective.loss(self._nets, batch, send)
