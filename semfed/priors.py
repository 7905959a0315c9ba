"""What a specific unit pays for its rate: KL(p(x|c) || prior) per sample, for four priors.

Source: "Semantic Communication for Cooperative Multi-Tasking Over Rate-Limited Wireless Channels With Implicit
Optimal Prior", eqs. (13) and (20)-(23). Every function returns a penalty: (x, mean, log_variance), each of shape
(samples, dims), with x = mean + exp(log_variance / 2) e drawn from the encoder, to nats of shape (samples,).
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from semfed.density_ratio import DensityRatio
from semfed.rate import kl_to_log_uniform, kl_to_standard_normal, log_density, mixture_log_density

Penalty = Callable[[Tensor, Tensor, Tensor], Tensor]

ZERO_GUARD = 1e-8


def standard_normal() -> Penalty:
    """Explicit prior N(0, I), eq. (22)."""
    return lambda x, mean, log_variance: kl_to_standard_normal(mean, log_variance).sum(1)


def log_uniform(alpha: Literal["channel", "encoder"]) -> Penalty:
    """Explicit log-uniform prior, eq. (23).

    Parameters
    ----------
    alpha : {"channel", "encoder"}
        ``channel``: the channel's noise variance 1 over the sent x^2, as in the paper; ``encoder``: the encoder's
        own variance over its squared mean, as in the literature that the formula comes from.
    """

    def penalty(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        if alpha == "channel":
            return kl_to_log_uniform(1 / (x.square() + ZERO_GUARD)).sum(1)
        return kl_to_log_uniform(log_variance.exp() / (mean.square() + ZERO_GUARD)).sum(1)

    return penalty


def implicit(ratio: DensityRatio, gradient: Literal["path", "detach"]) -> Penalty:
    """Implicit optimal prior: KL to q = N(0, I) minus the estimated log p(x) / q(x), eq. (20).

    Parameters
    ----------
    ratio : DensityRatio
        Constant: neither its weights nor its centres are trained here.
    gradient : {"path", "detach"}
        Appendix D shows that the score term of the ratio's gradient vanishes. ``path`` keeps what remains, the
        gradient through x = mean + sigma e. ``detach`` drops it too, as the published code does; the gradient is
        then exactly that of `standard_normal`.
    """

    def penalty(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        log_ratio = ratio.log_ratio(x if gradient == "path" else x.detach())
        return kl_to_standard_normal(mean, log_variance).sum(1) - log_ratio

    return penalty


def mixture(means: Tensor, log_variances: Tensor) -> Penalty:
    """Optimal prior as the mixture of the encoder's own Gaussians, with no classifier in between.

    Parameters
    ----------
    means, log_variances : Tensor, shape (components, dims), float
        Constant: the encoder's output at some earlier time.
    """
    return lambda x, mean, log_variance: (
        log_density(x, mean, log_variance) - mixture_log_density(x, means, log_variances)
    )
