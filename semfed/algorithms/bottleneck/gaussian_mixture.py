"""Equal mixtures of diagonal Gaussians: what an encoder sends, when its inputs are a finite sample."""

import math

import torch
from torch import Tensor

BLOCK = 5_000_000
"""Numbers in memory at a time: points times components."""


class GaussianMixture:
    """p(x) = 1/M sum_i N(x; means_i, diag exp log_variances_i), with what the components decide worked out once.

    Parameters
    ----------
    means, log_variances : Tensor, shape (components, dims), float
        Constant: no gradient reaches them.
    """

    def __init__(self, means: Tensor, log_variances: Tensor) -> None:
        precisions = torch.exp(-log_variances)
        pulls = means * precisions
        constants = (means * pulls + log_variances + math.log(2 * math.pi)).sum(1)
        self._offsets = -0.5 * constants
        self._columns = torch.cat([-0.5 * precisions, pulls], dim=1).T.contiguous()
        self._pulls = torch.cat([pulls, precisions], dim=1)

    def __len__(self) -> int:
        """Return how many components there are."""
        return len(self._offsets)

    def blocks(self, points: Tensor) -> tuple[Tensor, ...]:
        """Split a tensor by rows into parts of which `log_components` fit into memory."""
        return torch.split(points, max(1, BLOCK // len(self)))

    def log_components(self, x: Tensor) -> Tensor:
        """Log-density of every component at every point in nats.

        Parameters
        ----------
        x : Tensor, shape (samples, dims), of the components' dtype

        Returns
        -------
        Tensor, shape (samples, components)
        """
        return torch.addmm(self._offsets, torch.cat([x.square(), x], dim=1), self._columns)

    def log_density(self, x: Tensor) -> Tensor:
        """Log-density of the mixture in nats, shape (samples,); the gradient reaches `x`."""
        parts = [torch.logsumexp(self.log_components(points), dim=1) for points in self.blocks(x)]
        return torch.cat(parts) - math.log(len(self))

    def with_slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return `log_density` and its gradient, shapes (samples,) and (samples, dims), without autograd."""
        terms = self.log_components(x)
        total = torch.logsumexp(terms, dim=1, keepdim=True)
        pull, precision = (terms.sub_(total).exp_() @ self._pulls).chunk(2, dim=1)
        return total[:, 0] - math.log(len(self)), pull.addcmul(precision, x, value=-1)
