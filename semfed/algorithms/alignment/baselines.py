"""What a link without alignment would do: send some features of the access point, and map what arrives to the user.

The fair versions of First-K, Top-K and Eigen-K: features are whitened, sent with all the power, equalised, de-whitened
and completed; a least-squares map with intercept, learned on the pilots, then leads to the user's latents.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from semfed.algorithms.alignment.transmission import POWER, Radio
from semfed.algorithms.alignment.updates import UserStatistics, equalizer
from semfed.algorithms.alignment.whitening import Whitening, fit_whitening, to_complex, to_real

Send = Callable[[Tensor], Tensor]
"""From transmitted symbols, shape (s, samples), to received ones, shape (r, samples), complex128."""
Baseline = Literal["first-k", "top-k", "eigen-k"]


@dataclass(frozen=True)
class LinearMap:
    """z -> W z + b.

    Attributes
    ----------
    weight : Tensor, shape (to, from), float64
    intercept : Tensor, shape (to, 1), float64
    """

    weight: Tensor
    intercept: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """Map samples, shape (from, samples)."""
        return self.weight @ z + self.intercept


def least_squares(source: Tensor, target: Tensor) -> LinearMap:
    """Fit a linear map with intercept on pilots, shape (features, pilots) each."""
    source_mean, target_mean = source.mean(dim=1, keepdim=True), target.mean(dim=1, keepdim=True)
    found = torch.linalg.lstsq((source - source_mean).T, (target - target_mean).T, driver="gelsd").solution.T
    return LinearMap(found, target_mean - found @ source_mean)


@dataclass(frozen=True)
class FeatureLink:
    """Sends a few real features over a MIMO link, without regard to what they mean.

    Attributes
    ----------
    whitening : Whitening
    precoder : Tensor, shape (s, ceil(q / 2))
    equalizer : Tensor, shape (ceil(q / 2), r)
    """

    whitening: Whitening
    precoder: Tensor
    equalizer: Tensor

    def carry(self, features: Tensor, send: Send) -> Tensor:
        """Return features, shape (q, samples), as they arrive."""
        sent = self.precoder @ self.whitening.apply(to_complex(features))
        return to_real(self.whitening.undo(self.equalizer @ send(sent)), len(features))


def feature_link(pilots: Tensor, radio: Radio, ridge: float) -> FeatureLink:
    """Prepare to send features like those of the pilots, shape (q, n), with q / 2 at most s: F = sqrt(P / s) I."""
    paired = to_complex(pilots)
    whitening = fit_whitening(paired, owner="the access point's features that are sent", ridge=ridge)
    count = len(paired)
    precoder = (POWER / count) ** 0.5 * torch.eye(radio.response.shape[1], count, dtype=paired.dtype)
    own = UserStatistics(torch.eye(count, dtype=paired.dtype), float(count), radio.response, radio.noise)
    return FeatureLink(whitening, precoder, equalizer(own, precoder))


def first_features(count: int, width: int) -> Tensor:
    """Choose features 0 .. count - 1: the first rows of the identity, shape (count, width)."""
    return torch.eye(width, dtype=torch.float64)[:count]


def eigen_features(alignment: LinearMap, count: int) -> Tensor:
    """Choose the directions that a user's map weighs most: its first right singular vectors, shape (count, width)."""
    directions: Tensor = torch.linalg.svd(alignment.weight).Vh
    return directions[:count]


def send_projections(directions: Tensor, pilots: Tensor, latents: Tensor, link: FeatureLink, send: Send) -> Tensor:
    """Send projections on orthonormal directions and complete the others by their mean over the pilots.

    Parameters
    ----------
    directions : Tensor, shape (q, d0)
    pilots : Tensor, shape (d0, n)
    latents : Tensor, shape (d0, samples)
    link : FeatureLink
        For the projections of the pilots.
    send : callable

    Returns
    -------
    Tensor, shape (d0, samples), float64
        The access point's latents as the user knows them.
    """
    mean = pilots.mean(dim=1, keepdim=True)
    arrived = link.carry(directions @ latents, send)
    return mean + directions.T @ (arrived - directions @ mean)


def largest(latents: Tensor, count: int) -> Tensor:
    """Choose every sample's features of largest magnitude: sorted indices, shape (count, samples), int64."""
    return latents.abs().topk(count, dim=0).indices.sort(dim=0).values


def send_largest(latents: Tensor, count: int, link: FeatureLink, send: Send) -> Tensor:
    """Send every sample's largest features, their indices without error, and complete the others by 0.

    Returns
    -------
    Tensor, shape (d0, samples), float64
    """
    chosen = largest(latents, count)
    arrived = link.carry(latents.gather(0, chosen), send)
    return torch.zeros_like(latents).scatter(0, chosen, arrived)


@dataclass(frozen=True)
class ProjectionLink:
    """Sends projections of the access point's latents on directions that do not depend on the sample.

    Attributes
    ----------
    directions : Tensor, shape (q, d0)
    link : FeatureLink
    mean : Tensor, shape (d0, 1)
        Of the access point's pilots.
    alignment : LinearMap
        From the access point's latents to the user's.
    """

    directions: Tensor
    link: FeatureLink
    mean: Tensor
    alignment: LinearMap


def projection_link(
    baseline: Literal["first-k", "eigen-k"], own: Tensor, users: Tensor, *, radio: Radio, ridge: float = 0.0
) -> ProjectionLink:
    """Prepare First-K or Eigen-K; arguments as in `deliver`."""
    alignment = least_squares(own, users)
    count = min(2 * radio.response.shape[1], len(own))
    directions = eigen_features(alignment, count) if baseline == "eigen-k" else first_features(count, len(own))
    link = feature_link(directions @ own, radio, ridge)
    return ProjectionLink(directions, link, own.mean(dim=1, keepdim=True), alignment)


def deliver(
    baseline: Baseline, latents: Tensor, own: Tensor, users: Tensor, *, radio: Radio, send: Send, ridge: float = 0.0
) -> Tensor:
    """Send latents of the access point by a baseline and return what the user makes of them.

    Parameters
    ----------
    baseline : {"first-k", "top-k", "eigen-k"}
        2 N_T K real features: the first ones; every sample's largest ones; the directions that the user's map weighs
        most.
    latents : Tensor, shape (d0, samples), float64
    own, users : Tensor, shape (d0, n) and (dk, n)
        Latents of the pilots.
    radio : Radio
    send : callable
        Through that radio.
    ridge : float
        See `fit_whitening`.

    Returns
    -------
    Tensor, shape (dk, samples), float64
    """
    if baseline == "top-k":
        alignment, count = least_squares(own, users), min(2 * radio.response.shape[1], len(own))
        link = feature_link(own.gather(0, largest(own, count)), radio, ridge)
        return alignment(send_largest(latents, count, link, send))
    ready = projection_link(baseline, own, users, radio=radio, ridge=ridge)
    return ready.alignment(send_projections(ready.directions, own, latents, ready.link, send))


def as_they_are(latents: Tensor, width: int) -> Tensor:
    """Take latents for those of a user with another width: cut off, or completed by zeros."""
    taken = torch.zeros(width, latents.shape[1], dtype=latents.dtype)
    taken[: len(latents)] = latents[:width]
    return taken
