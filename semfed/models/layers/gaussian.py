"""Stochastic encoders: a trunk with two heads, the mean and the log-variance of a diagonal Gaussian."""

import torch
from torch import Tensor, nn


class GaussianEncoder(nn.Module):
    """From an input to (mean, log-variance).

    Parameters
    ----------
    trunk : nn.Module
        (batch, ...) to (batch, features).
    features, outputs : int
        Widths of the trunk's output and of both heads.
    bounded : bool
        Squash the mean by tanh and the log-variance by a sigmoid, so |mean| < 1 and 1 < variance < e.
    """

    def __init__(self, trunk: nn.Module, features: int, outputs: int, *, bounded: bool) -> None:
        super().__init__()
        self.trunk = trunk
        self.mean = nn.Linear(features, outputs)
        self.log_variance = nn.Linear(features, outputs)
        self.bounded = bounded

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, each of shape (batch, outputs), float32."""
        features = self.trunk(x)
        mean, log_variance = self.mean(features), self.log_variance(features)
        return (mean.tanh(), log_variance.sigmoid()) if self.bounded else (mean, log_variance)


def sample(mean: Tensor, log_variance: Tensor, generator: torch.Generator) -> Tensor:
    """Draw mean + exp(log_variance / 2) e with e ~ N(0, I), differentiable in both; any shape."""
    return draw(mean, torch.exp(0.5 * log_variance), generator)


def draw(mean: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """Draw mean + deviation e with e ~ N(0, I), differentiable in both; any shape."""
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    return torch.addcmul(mean, deviation, noise)
