"""How many nats a Gaussian encoder sends: divergences to fixed priors in closed form, and the rate itself.

Source: "Semantic Communication for Cooperative Multi-Tasking Over Rate-Limited Wireless Channels With Implicit
Optimal Prior", eqs. (22) and (23). An encoder is a mean and a log-variance per dimension.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from semfed.algorithms.bottleneck.gaussian_mixture import GaussianMixture

K1, K2, K3 = 0.63576, 1.87320, 1.48695


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)) per dimension in nats, eq. (22).

    Parameters
    ----------
    mean, log_variance : Tensor, any shape, float

    Returns
    -------
    Tensor, the same shape

    Examples
    --------
    >>> kl_to_standard_normal(torch.tensor(1.0), torch.tensor(0.0)).item()
    0.5
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def kl_to_log_uniform(alpha: Tensor) -> Tensor:
    """KL of a Gaussian to the log-uniform prior per dimension in nats, eq. (23), up to a constant that makes it >= 0.

    The paper prints it with the sign reversed. The approximation is within 0.0063 nats of quadrature.

    Parameters
    ----------
    alpha : Tensor, any shape, float
        Variance over squared mean, greater than 0.

    Returns
    -------
    Tensor, the same shape
        Positive, decreasing, 0 for alpha to infinity.
    """
    return K1 - K1 * torch.sigmoid(K2 + K3 * alpha.log()) + 0.5 * torch.log1p(1 / alpha)


def log_density(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-density of diagonal Gaussians at one point each, in nats.

    Parameters
    ----------
    x, mean, log_variance : Tensor, shape (samples, dims), float

    Returns
    -------
    Tensor, shape (samples,)
    """
    scaled = (x - mean).square() * torch.exp(-log_variance)
    return -0.5 * (scaled + log_variance + math.log(2 * math.pi)).sum(1)


def mixture_log_density(x: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    """Log-density of the equal mixture of diagonal Gaussians, in nats.

    Parameters
    ----------
    x : Tensor, shape (samples, dims), float
    means, log_variances : Tensor, shape (components, dims), float

    Returns
    -------
    Tensor, shape (samples,)
    """
    return GaussianMixture(means, log_variances).log_density(x)


class RateBounds(NamedTuple):
    """Two Monte-Carlo estimates of a rate in nats, whose expectations enclose it.

    Attributes
    ----------
    lower, upper : float
    """

    lower: float
    upper: float

    @property
    def estimate(self) -> float:
        """The middle, from which the bias of first order in 1 / components cancels."""
        return (self.lower + self.upper) / 2


def rate(x: Tensor, own: Tensor, means: Tensor, log_variances: Tensor) -> RateBounds:
    """Estimate I(x; c) = E log p(x|c) / p(x) in nats, with p(x) the mixture of the encoder's Gaussians.

    For M inputs c_i the mixture 1/M sum_i p(x|c_i) stands for p(x). With the component that x was drawn from among
    them, the estimate is too low and never above log M; without it, in the mixture of the other M - 1, it is too high
    (Poole et al., "On variational bounds of mutual information", 2019). With w = p(x|c) / p(x) for
    independent x and c, both biases are var(w) / (2 M) to first order, with opposite signs: `RateBounds.estimate` is
    what to report, the two bounds tell how far to trust it.

    Parameters
    ----------
    x : Tensor, shape (samples, dims), float
    own : Tensor, shape (samples,), int64
        The component that each of them was drawn from.
    means, log_variances : Tensor, shape (components, dims), float
        The encoder's output for a sample of inputs.

    Returns
    -------
    RateBounds

    Raises
    ------
    ValueError
        If there are fewer than two components.
    """
    if len(means) < 2:
        raise ValueError(f"{len(means)} component: a rate needs at least two, one of which is another's")
    mixture, lower, upper = GaussianMixture(means, log_variances), 0.0, 0.0
    for points, column in zip(mixture.blocks(x), mixture.blocks(own), strict=True):
        terms = mixture.log_components(points)
        drawn_from = terms.gather(1, column[:, None])
        lower += float((drawn_from[:, 0] - terms.logsumexp(1)).sum())
        terms.scatter_(1, column[:, None], -math.inf)
        upper += float((drawn_from[:, 0] - terms.logsumexp(1)).sum())
    return RateBounds(lower / len(x) + math.log(len(means)), upper / len(x) + math.log(len(means) - 1))
