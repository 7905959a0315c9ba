"""Local optimisers: torch's own update rules, without the object around them.

Constructing a ``torch.optim.Optimizer`` imports torch's compiler, which takes seconds in every process, and costs more
per step than a small network's arithmetic. The functional forms are the same kernels.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from semfed.scenario import TrainingSettings


class Optimizer(Protocol):
    """Changes parameters in place by their gradients."""

    parameters: list[Tensor]

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Apply one update; gradients in the order of the parameters."""

    def state(self) -> dict[str, Tensor]:
        """Return the moments by name, so that training can go on from them; the tensors are not copied."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""


def make_optimizer(
    settings: TrainingSettings,
    parameters: Iterable[nn.Parameter],
    *,
    mu: float = 0.0,
    shared: Iterable[nn.Parameter] = (),
    stacked: bool = False,
) -> Optimizer:
    """Return a fresh optimiser.

    Parameters
    ----------
    settings : TrainingSettings
    parameters : iterable of nn.Parameter
        Floating-point tensors on one device.
    mu : float, default 0
        Weight of the proximal term; see `Proximal`.
    shared : iterable of nn.Parameter
        Which of the parameters it holds back, to what they are now.
    stacked : bool, default False
        Whether parameters have a first dimension of models that are trained side by side, each with a norm of its own.

    Raises
    ------
    ValueError
        If the settings have a schedule: nobody has said which round it is.
    """
    if settings.schedule is not None:
        raise ValueError("a learning rate with a schedule is that of a round: give TrainingSettings.in_round(...)")
    trained = list(parameters)
    chosen: Optimizer = SGD(settings, trained) if settings.optimizer == "sgd" else Adam(settings, trained)
    if settings.clip_grad_norm is not None:
        chosen = Clipped(chosen, settings.clip_grad_norm, stacked=stacked)
    return Proximal(chosen, mu, shared) if mu else chosen


class Clipped:
    """Another optimiser on gradients that are shortened to a norm, as ``torch.nn.utils.clip_grad_norm_`` does.

    It is part of the proximal objective's step: what is clipped is the gradient with the proximal term in it.

    Parameters
    ----------
    optimizer : Optimizer
    max_norm : float
        Greater than 0; of all gradients together, the 2-norm.
    stacked : bool, default False
        Whether the first dimension of the gradients counts models, each of which has a norm of its own.
    """

    def __init__(self, optimizer: Optimizer, max_norm: float, *, stacked: bool = False) -> None:
        self.optimizer, self.max_norm, self.stacked = optimizer, max_norm, stacked
        self.parameters = optimizer.parameters

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Apply one update."""
        total = _norm_of_each(gradients) if self.stacked else get_total_norm(list(gradients))
        factor = (self.max_norm / (total + 1e-6)).clamp(max=1.0)  # torch's own small number
        self.optimizer.step([g * factor.view(factor.shape + (1,) * (g.ndim - factor.ndim)) for g in gradients])

    def state(self) -> dict[str, Tensor]:
        """Return the other optimiser's state."""
        return self.optimizer.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the other optimiser's state over."""
        self.optimizer.load_state(state)


class Proximal:
    """Another optimiser on the loss plus mu / 2 ||w - w0||^2, where w0 are the weights that were received.

    Source: "Federated Optimization in Heterogeneous Networks" (MLSys 2020), eq. (2), FedProx. The term goes into the
    gradient, mu (w - w0), and not into the loss that is reported.

    Parameters
    ----------
    optimizer : Optimizer
    mu : float
        0 or greater.
    shared : iterable of Tensor
        w, some of the optimiser's parameters; w0 is what they are now.
    """

    def __init__(self, optimizer: Optimizer, mu: float, shared: Iterable[Tensor]) -> None:
        self.optimizer, self.mu = optimizer, mu
        self.parameters = optimizer.parameters
        places = {id(parameter): k for k, parameter in enumerate(self.parameters)}
        self.received = {places[id(tensor)]: tensor.detach().clone() for tensor in shared}

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Apply one update."""
        pulled = list(gradients)
        for k, received in self.received.items():
            pulled[k] = pulled[k].add(self.parameters[k] - received, alpha=self.mu)
        self.optimizer.step(pulled)

    def state(self) -> dict[str, Tensor]:
        """Return the other optimiser's state; w0 belongs to a round and is no part of it."""
        return self.optimizer.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the other optimiser's state over."""
        self.optimizer.load_state(state)


class SGD:
    """Stochastic gradient descent with momentum, as ``torch.optim.SGD(fused=True)``."""

    def __init__(self, settings: TrainingSettings, parameters: Sequence[nn.Parameter]) -> None:
        self.settings = settings
        self.parameters: list[Tensor] = list(parameters)
        self.momenta: list[Tensor | None] = [None] * len(self.parameters)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Apply one update."""
        if self.settings.plain_sgd:  # bit for bit the same, with less around it
            torch._foreach_add_(self.parameters, list(gradients), alpha=-self.settings.lr)
            return
        sgd(
            self.parameters,
            _laid_out(gradients, self.parameters),
            self.momenta,
            weight_decay=self.settings.weight_decay,
            momentum=self.settings.momentum,
            lr=self.settings.lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            fused=True,
        )

    def state(self) -> dict[str, Tensor]:
        """Return the momenta, none without momentum; before the first step they are zero."""
        if not self.settings.momentum:
            return {}
        pairs = zip(self.parameters, self.momenta, strict=True)
        return {f"momenta.{k}": torch.zeros_like(p) if m is None else m for k, (p, m) in enumerate(pairs)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take momenta over."""
        self.momenta = [_on(p, state.get(f"momenta.{k}")) for k, p in enumerate(self.parameters)]


class Adam:
    """Adam or AdamW with torch's default betas, as ``torch.optim.Adam(fused=True)`` and ``torch.optim.AdamW``."""

    def __init__(self, settings: TrainingSettings, parameters: Sequence[nn.Parameter]) -> None:
        self.settings = settings
        self._update = adamw if settings.optimizer == "adamw" else adam
        self.parameters: list[Tensor] = list(parameters)
        self.means = self.squares = [p.new_zeros(()).expand_as(p) for p in self.parameters]  # not yet in memory
        self.steps = [torch.zeros((), device=p.device) for p in self.parameters]
        self._fresh = True

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Apply one update."""
        if self._fresh:
            self.means, self.squares = ([torch.zeros_like(p) for p in self.parameters] for _ in range(2))
            self._fresh = False
        self._update(
            self.parameters,
            _laid_out(gradients, self.parameters),
            self.means,
            self.squares,
            [],
            self.steps,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.settings.lr,
            weight_decay=self.settings.weight_decay,
            eps=1e-8,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """Return means, squares and step counts; before the first step, means and squares are zeros to be copied."""
        lists = {"means": self.means, "squares": self.squares, "steps": self.steps}
        return {f"{name}.{k}": tensor for name, tensors in lists.items() for k, tensor in enumerate(tensors)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take means, squares and step counts over."""
        for name in ("means", "squares", "steps"):
            setattr(self, name, [state[f"{name}.{k}"].to(p.device) for k, p in enumerate(self.parameters)])
        self._fresh = False


def _norm_of_each(gradients: Sequence[Tensor]) -> Tensor:
    """Return the norm of every model's gradients, shape (models,)."""
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
    total: Tensor = torch.linalg.vector_norm(norms, dim=0)
    return total


def _on(like: Tensor, tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.to(like.device)


def _laid_out(gradients: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    """Give gradients the memory layout of their parameters, which the fused kernels take for granted.

    ``backward()`` would see to that; ``torch.autograd.grad`` returns convolutions' gradients in whatever layout the
    convolution chose.
    """
    pairs = zip(gradients, parameters, strict=True)
    return [g if g.stride() == p.stride() else torch.empty_like(p).copy_(g) for g, p in pairs]
