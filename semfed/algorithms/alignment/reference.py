"""The behaviour of the authors' published code where it differs from the method, for comparison only.

It averages the users' own solutions F_k, which has another fixed point than the federated problem; it regularises
every entry of the equalizer's Gram matrix by n sigma (1 + j) / (n - 1); and it models E|h|^2 = 1/2 with a noise
variance of 1 / (N_R snr K^2).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from semfed.algorithms.alignment.updates import Consensus, UserStatistics, admm_precoder, mean


def reference_channel(response: Tensor, snr_db: float, uses: int) -> tuple[Tensor, float]:
    """Return a channel matrix, shape (N_R, N_T), and the SNR as the reference code models them.

    The SNR is given in the terms of this package, where the noise variance is 1 / (N_T K snr).
    """
    receive, transmit = response.shape
    return response / 2**0.5, snr_db + 10 * math.log10(receive * uses / transmit)


def reference_equalizer(link: UserStatistics, precoder: Tensor, pilots: int) -> Tensor:
    """Return G_k = R_k (H F)^H (H F F^H H^H + n sigma (1 + j) / (n - 1) 1 1^T)^-1, shape (mk, r)."""
    through = link.response @ precoder
    regulariser = pilots / (pilots - 1) * link.noise**0.5 * (1 + 1j)
    gram = through @ through.mH + regulariser * torch.ones(len(through), len(through), dtype=through.dtype)
    solution: Tensor = torch.linalg.solve(gram, link.correlation @ through.mH, left=False)
    return solution


def averaged_solutions(state: Consensus, grams: Sequence[Tensor], matches: Sequence[Tensor], rho: float) -> Tensor:
    """Return the mean over users of the F that each would take alone: biased, unlike the F of the means."""
    return mean([admm_precoder(state, gram, match, rho) for gram, match in zip(grams, matches, strict=True)])
