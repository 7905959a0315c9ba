"""What a specific unit pays for its rate: KL(p(x|c) || prior) per sample, for four priors.

Source: "Semantic Communication for Cooperative Multi-Tasking Over Rate-Limited Wireless Channels With Implicit
Optimal Prior", eqs. (13) and (20)-(23). Every function returns a penalty: (x, mean, log_variance), each of shape
(samples, dims), with x = mean + exp(log_variance / 2) e drawn from the encoder, to nats of shape (samples,).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from semfed.algorithms.bottleneck.density_ratio import LogRatio
from semfed.algorithms.bottleneck.rate import kl_to_log_uniform, kl_to_standard_normal, log_density, mixture_log_density

Penalty = Callable[[Tensor, Tensor, Tensor], Tensor]

ZERO_GUARD = 1e-8


class NormalPrior:
    """KL to N(0, I), less the estimated log p(x) / q(x) if there is an estimate of it; eqs. (20) and (22).

    Parameters
    ----------
    ratio : LogRatio, optional
        Constant: neither its weights nor its centres are trained here.
    gradient : {"path", "detach"}
        Whether the ratio's gradient passes through x; see `implicit`.
    """

    def __init__(self, ratio: LogRatio | None = None, gradient: Literal["path", "detach"] = "path") -> None:
        self.ratio = ratio
        self.gradient = gradient

    def __call__(self, x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Return the penalty."""
        divergence = kl_to_standard_normal(mean, log_variance).sum(1)
        if self.ratio is None:
            return divergence
        return divergence - self.ratio.log_ratio(x if self.gradient == "path" else x.detach())

    def with_slopes(
        self, x: Tensor, mean: Tensor, log_variance: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Return the sum of the penalty and its gradients by x (None if it is zero), mean and log-variance.

        Without autograd.
        """
        excess = torch.expm1(log_variance)
        penalty = 0.5 * torch.addcmul(excess, mean, mean).sub_(log_variance).sum()
        of_log_variance = excess.mul_(0.5)
        if self.ratio is None:
            return penalty, None, mean, of_log_variance
        if self.gradient == "detach":
            return penalty.sub_(self.ratio.log_ratio(x).sum()), None, mean, of_log_variance
        log_ratio, slope = self.ratio.with_slope(x)
        return penalty.sub_(log_ratio.sum()), slope.neg_(), mean, of_log_variance


def standard_normal() -> NormalPrior:
    """Explicit prior N(0, I), eq. (22)."""
    return NormalPrior()


Alpha = Literal["paper", "channel", "encoder"]


def log_uniform(alpha: Alpha, noise_variance: float) -> Penalty:
    """Explicit log-uniform prior, eq. (23).

    Parameters
    ----------
    alpha : {"paper", "channel", "encoder"}
        What stands for eq. (23)'s alpha. ``paper``: the encoder's variance over the squared sample,
        exp(log_variance) / x^2, as printed. ``channel``: the channel's noise variance over the squared sample; the
        published code has this with variance 1 whatever the SNR. ``encoder``: the encoder's variance over its squared
        mean, as in the literature that the formula comes from. To every square 1e-8 is added; x is what the encoder
        gives out, before the channel scales its power.
    noise_variance : float
        Of the channel, per real number, greater than 0; only ``channel`` reads it.
    """

    def penalty(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        variance = torch.full_like(x, noise_variance) if alpha == "channel" else log_variance.exp()
        centre = mean if alpha == "encoder" else x
        return kl_to_log_uniform(variance / (centre.square() + ZERO_GUARD)).sum(1)

    return penalty


def implicit(ratio: LogRatio, gradient: Literal["path", "detach"]) -> NormalPrior:
    """Implicit optimal prior: KL to q = N(0, I) minus the estimated log p(x) / q(x), eq. (20).

    Appendix D shows that the score term of the ratio's gradient vanishes. ``path`` keeps what remains, the gradient
    through x = mean + sigma e. ``detach`` drops it too, as the published code does; the gradient is then exactly that
    of `standard_normal`.
    """
    return NormalPrior(ratio, gradient)


def mixture(means: Tensor, log_variances: Tensor) -> Penalty:
    """Optimal prior as the mixture of the encoder's own Gaussians: the rate's estimate itself is the penalty.

    In expectation it is `implicit` with a `MixtureRatio`, which divides both densities by q and has the first of them
    in closed form; the gradients differ in their noise.

    Parameters
    ----------
    means, log_variances : Tensor, shape (components, dims), float
        Constant: the encoder's output at some earlier time.
    """
    return lambda x, mean, log_variance: (
        log_density(x, mean, log_variance) - mixture_log_density(x, means, log_variances)
    )
