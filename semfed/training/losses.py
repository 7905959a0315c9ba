"""From logits to a decision, for tasks of two values (one logit) and of many (one logit each)."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, nll_loss

from semfed.scenario import Task


def logits_of(task: Task) -> int:
    """Return how many logits decide a task: 1 for two values, else one a value."""
    return 1 if len(task.symbols) == 2 else len(task.symbols)


def decision_loss(logits: Tensor, values: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats.

    Parameters
    ----------
    logits : Tensor, shape (batch, 1) or (batch, values), float
    values : Tensor, shape (batch,), int64
    """
    if logits.shape[1] == 1:
        return binary_cross_entropy_with_logits(logits[:, 0], values.to(logits.dtype))
    return cross_entropy(logits, values)


def decision_loss_and_slope(logits: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return `decision_loss` and its gradient by the logits, without autograd."""
    if logits.shape[1] == 1:
        targets = values.to(logits.dtype)[:, None]
        return binary_cross_entropy_with_logits(logits, targets), (logits.sigmoid() - targets).div_(len(logits))
    log_chances = torch.log_softmax(logits, dim=1)
    wanted = _unit_vectors(logits.shape[1], logits.dtype, logits.device).index_select(0, values)
    loss = nll_loss(log_chances, values)
    return loss, log_chances.exp_().sub_(wanted).div_(len(logits))


_unit_vectors = lru_cache(maxsize=16)(lambda size, dtype, device: torch.eye(size, dtype=dtype, device=device))
"""Rows of the identity matrix; making one anew costs as much as a quarter of a small minibatch's loss."""


def decide(logits: Tensor) -> Tensor:
    """Return the most likely values, shape (batch,), int64; logits as in `decision_loss`."""
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)


def error_rate(logits: Tensor, values: Tensor) -> float:
    """Fraction of wrong decisions for the most likely value; arguments as in `decision_loss`."""
    return float((decide(logits) != values).to(torch.float64).mean())
