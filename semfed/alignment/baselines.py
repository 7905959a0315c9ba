"""What a link without alignment would do: send some features of the access point, and map what arrives to the user.

The fair versions of First-K, Top-K and Eigen-K: features are whitened, sent with all the power, equalised, de-whitened
and completed; a least-squares map with intercept, learned on the pilots, then leads to the user's latents.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from semfed.alignment.updates import Link, equalizer
from semfed.alignment.whitening import Whitening, fit_whitening, to_complex, to_real

Send = Callable[[Tensor], Tensor]
"""From transmitted symbols, shape (s, samples), to received ones, shape (r, samples), complex128."""


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


def feature_link(pilots: Tensor, response: Tensor, noise: float, power: float, ridge: float) -> FeatureLink:
    """Prepare to send features like those of the pilots, shape (q, n), with q / 2 at most s: F = sqrt(P / s) I."""
    paired = to_complex(pilots)
    whitening = fit_whitening(paired, owner="the access point's features that are sent", ridge=ridge)
    count = len(paired)
    precoder = (power / count) ** 0.5 * torch.eye(response.shape[1], count, dtype=paired.dtype)
    own = Link(torch.eye(count, dtype=paired.dtype), float(count), response, noise)
    return FeatureLink(whitening, precoder, equalizer(own, precoder))


def first_features(count: int, width: int) -> Tensor:
    """Choose features 0 .. count - 1: the first rows of the identity, shape (count, width)."""
    return torch.eye(width, dtype=torch.float64)[:count]


def eigen_features(alignment: LinearMap, count: int) -> Tensor:
    """Choose the directions that a user's map weighs most: its first right singular vectors, shape (count, width)."""
    directions: Tensor = torch.linalg.svd(alignment.weight).Vh
    return directions[:count]


def send_projections(
    directions: Tensor, pilots: Tensor, latents: Tensor, link: FeatureLink, send: Send
) -> Tensor:
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
