"""From real latents to white complex features and back."""

from dataclasses import dataclass

import torch
from torch import Tensor

from semfed.errors import DataError

SMALLEST_PIVOT = 1e-12
"""A covariance whose smallest Cholesky pivot is below this share of its mean variance counts as singular."""


def to_complex(z: Tensor) -> Tensor:
    """Pair the first half of the features with the second half: c = z[:d/2] + j z[d/2:].

    Parameters
    ----------
    z : Tensor, shape (d, samples), float64
        An odd d is padded by one zero.

    Returns
    -------
    Tensor, shape (ceil(d / 2), samples), complex128
    """
    half = (len(z) + 1) // 2
    imaginary = torch.zeros_like(z[:half])
    imaginary[: len(z) - half] = z[half:]
    return torch.complex(z[:half], imaginary)


def to_real(c: Tensor, width: int) -> Tensor:
    """Undo `to_complex`: shape (width, samples), float64; what was padded is dropped."""
    return torch.cat([c.real, c.imag])[:width]


@dataclass(frozen=True)
class Whitening:
    """x = L^-1 (c - mu), with statistics from pilots, reused for new samples.

    Attributes
    ----------
    mean : Tensor, shape (features, 1)
    factor : Tensor, shape (features, features)
        Lower triangular L.
    """

    mean: Tensor
    factor: Tensor

    def apply(self, c: Tensor) -> Tensor:
        """Whiten samples, shape (features, samples)."""
        white: Tensor = torch.linalg.solve_triangular(self.factor, c - self.mean, upper=False)
        return white

    def undo(self, x: Tensor) -> Tensor:
        """Return whitened samples to where they came from."""
        return self.factor @ x + self.mean


def fit_whitening(c: Tensor, *, owner: str, full: bool = True, ridge: float = 0.0) -> Whitening:
    """Find the whitening of pilots: S = cov(C) + ridge tr(S) / m I and S = L L^H.

    Parameters
    ----------
    c : Tensor, shape (m, pilots), complex128 or float64
    owner : str
        Whose latents these are, for messages.
    full : bool, default True
        False leaves the covariance as it is and only scales it to mean variance 1.
    ridge : float, default 0
        Added to every variance, as a share of their mean.

    Raises
    ------
    DataError
        If there are values that are not finite, too few pilots, or features that depend on each other.
    """
    features, pilots = c.shape
    if not torch.isfinite(torch.view_as_real(c) if c.is_complex() else c).all():
        raise DataError(f"latents of {owner} have values that are not finite: check the encoder or the file")
    if pilots <= features:
        raise DataError(
            f"pilots = {pilots} is too few for the {features} features of {owner}: use more than {features} pilots"
        )
    mean = c.mean(dim=1, keepdim=True)
    centred = c - mean
    covariance = centred @ centred.mH / (pilots - 1)
    variance = float(covariance.diagonal().real.mean())
    identity = torch.eye(features, dtype=c.dtype)
    if not full:
        if variance <= 0:
            raise DataError(f"latents of {owner} are constant: check the encoder or the file")
        return Whitening(mean, variance**0.5 * identity)
    factor, failed = torch.linalg.cholesky_ex(covariance + ridge * variance * identity)
    pivots = factor.diagonal().real.square()
    if failed or float(pivots.min()) <= SMALLEST_PIVOT * variance:
        raise DataError(
            f"latents of {owner} have a singular covariance (features that are constant or depend on each other): "
            "set learner.ridge to 1e-6 or drop such features"
        )
    return Whitening(mean, factor)
