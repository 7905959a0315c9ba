"""Local differential privacy: what a client adds to what it reveals, and what that guarantees.

Two things can be protected, with two notions of neighbours:

- label counts, by the Laplace mechanism: the guarantee is for one sample, replaced by any other;
- model updates, clipped and with Gaussian noise (Flower's ``LocalDpMod``): the guarantee is for all of a client's data.

Metrics, features, gradients, prototypes and the number of samples are not protected.

Sources: C. Dwork and A. Roth, "The Algorithmic Foundations of Differential Privacy" (2014), definition 3.3 and theorem
A.1; B. Balle and Y.-X. Wang, "Improving the Gaussian Mechanism for Differential Privacy" (ICML 2018), theorem 8;
J. Dong, A. Roth and W. J. Su, "Gaussian Differential Privacy" (JRSS B 2022), corollary 3.3; M. Bun and T. Steinke,
"Concentrated Differential Privacy" (TCC 2016), propositions 1.3 and 1.6.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.special import erfcx, ndtr

from semfed.scenario.privacy import LabelPrivacy, UpdatePrivacy

COUNTS_SENSITIVITY = 2.0
"""Replacing a sample takes one from a count and adds one to another: the counts change by 2 in the 1-norm."""


def spent(settings: UpdatePrivacy, rounds: int) -> float:
    """Return the epsilon of this many rounds together, at ``settings.delta``: exact, not a bound.

    Every round is a Gaussian mechanism whose noise is sqrt(2 ln(1.25 / delta)) / epsilon times the sensitivity, and n
    of them together tell as much as one with 1 / sqrt(n) of the noise.

    Examples
    --------
    >>> settings = UpdatePrivacy(clipping_norm=1.0, epsilon=1.0, delta=1e-5)
    >>> round(spent(settings, 1), 3), round(spent(settings, 10), 3)
    (0.751, 2.688)
    """
    multiplier = math.sqrt(2.0 * math.log(1.25 / settings.delta)) / settings.epsilon
    return gaussian_epsilon(math.sqrt(rounds) / multiplier, settings.delta)


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Return the least delta of the Gaussian mechanism at an epsilon (Balle and Wang, theorem 8).

    Parameters
    ----------
    epsilon : float
        At least 0.
    mu : float
        Sensitivity over the noise's standard deviation, above 0.
    """
    above, below = mu / 2 - epsilon / mu, mu / 2 + epsilon / mu
    # e^epsilon Phi(-below), where the first factor would overflow: both are densities times a Mills ratio
    return float(ndtr(above) - math.exp(-(above**2) / 2) * erfcx(below / math.sqrt(2)) / 2)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the least epsilon of the Gaussian mechanism at a delta; parameters as in `gaussian_delta`, mu may be 0."""
    if mu == 0 or gaussian_delta(0.0, mu) <= delta:
        return 0.0
    from scipy.optimize import brentq  # takes a quarter of a second to import, which most runs need not wait for

    rho = mu**2 / 2  # of zero-concentrated privacy, which bounds the root (Bun and Steinke)
    bound = rho + 2 * math.sqrt(rho * math.log(1 / delta))
    return float(brentq(lambda epsilon: gaussian_delta(epsilon, mu) - delta, 0.0, bound, xtol=1e-300, rtol=1e-12))


def private_pmf(
    pmf: npt.ArrayLike, samples: int, settings: LabelPrivacy, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return a distribution of labels with Laplace noise on its counts.

    Parameters
    ----------
    pmf : array_like, shape (values,)
    samples : int
        How many samples it counts; public, and not changed by replacing one.
    settings : LabelPrivacy
    generator : numpy.random.Generator

    Returns
    -------
    ndarray, shape (values,)
        Positive, sums to 1: no count is told to be below one sample, which costs no privacy.
    """
    counts = np.asarray(pmf, dtype=np.float64) * samples
    noisy = counts + generator.laplace(0.0, COUNTS_SENSITIVITY / settings.epsilon, counts.shape)
    kept = np.maximum(noisy, 1.0)
    told: npt.NDArray[np.float64] = kept / kept.sum()
    return told
