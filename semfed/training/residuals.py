"""How good estimates of real numbers are: mean square error, mean absolute error, and R squared."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from semfed.training.objective import Score, Total


@dataclass(frozen=True)
class Explained:
    """The share of the targets' variance that estimates explain, R squared, which adds up over batches.

    It is 1 for perfect estimates, 0 for those that are no better than the mean of the tested targets, and below 0 for
    worse ones. Where all targets are equal, it is 1 for perfect estimates and minus infinity for others.

    Attributes
    ----------
    residual : float
        Sum of the squared errors.
    count : int
    centre, spread : float
        Mean of the targets, and the sum of their squared distances from it.
    """

    residual: float
    count: int
    centre: float
    spread: float

    def __add__(self, other: "Explained") -> "Explained":
        """Return the score of both batches together; their spreads are joined as Chan, Golub and LeVeque (1983) do."""
        count = self.count + other.count
        apart = other.centre - self.centre
        return Explained(
            self.residual + other.residual,
            count,
            self.centre + apart * other.count / count,
            self.spread + other.spread + apart**2 * self.count * other.count / count,
        )

    @property
    def mean(self) -> float:
        """The score."""
        if not self.spread:
            return 1.0 if not self.residual else float("-inf")
        return 1 - self.residual / self.spread


def residuals(estimates: Tensor, targets: Tensor) -> Mapping[str, Score]:
    """Return ``mse``, ``mae`` and ``r2`` of a batch.

    Parameters
    ----------
    estimates, targets : Tensor, shape (batch,), float
        In the unit of the targets.
    """
    errors, true = estimates.double() - targets.double(), targets.double()
    squared, count, centre = float(errors.square().sum()), len(true), true.mean()
    return {
        "mse": Total(squared, count),
        "mae": Total(float(errors.abs().sum()), count),
        "r2": Explained(squared, count, float(centre), float(torch.sum((true - centre) ** 2))),
    }
