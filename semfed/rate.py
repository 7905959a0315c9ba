"""How many nats a Gaussian encoder sends: divergences to fixed priors in closed form, and the rate itself.

Source: "Semantic Communication for Cooperative Multi-Tasking Over Rate-Limited Wireless Channels With Implicit
Optimal Prior", eqs. (22) and (23). An encoder is a mean and a log-variance per dimension.
"""

import math

import torch
from torch import Tensor

K1, K2, K3 = 0.63576, 1.87320, 1.48695
MIXTURE_CHUNK = 500


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
    precision = torch.exp(-log_variances)
    constant = (means.square() * precision + log_variances + math.log(2 * math.pi)).sum(1)
    parts = []
    for points in torch.split(x, MIXTURE_CHUNK):
        squared = points.square() @ precision.T - 2 * points @ (means * precision).T + constant
        parts.append(torch.logsumexp(-0.5 * squared, dim=1))
    return torch.cat(parts) - math.log(len(means))


def rate(x: Tensor, mean: Tensor, log_variance: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    """Estimate I(x; c) = E log p(x|c) / p(x) in nats, with p(x) the mixture of the encoder's Gaussians.

    Parameters
    ----------
    x : Tensor, shape (samples, dims), float
        One draw from each of the samples' encoder distributions.
    mean, log_variance : Tensor, shape (samples, dims), float
        Those distributions.
    means, log_variances : Tensor, shape (components, dims), float
        The mixture. If it is made of the same distributions, the expectation lies between 0 and the mean KL to any
        prior, and below log(components).

    Returns
    -------
    Tensor, scalar
    """
    return (log_density(x, mean, log_variance) - mixture_log_density(x, means, log_variances)).mean()
