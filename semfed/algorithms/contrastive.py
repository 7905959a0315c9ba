"""Contrastive learning of semantic centroids: what FedCL's server computes from received features.

Source: "Federated Contrastive Learning for Personalized Semantic Communication" (arXiv 2406.09182): local centroids
eq. (7), centroid generator eqs. (8) and (9), client loss eq. (10).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

Mode = Literal["normalised", "literal"]


@dataclass(frozen=True)
class Centroids:
    """One point of the feature space per class.

    Attributes
    ----------
    values : Tensor, shape (classes, features), float
        Zero for classes that are not known.
    counts : Tensor, shape (classes,), float
        Samples behind every point, zero where there is none.
    """

    values: Tensor
    counts: Tensor

    @property
    def known(self) -> Tensor:
        """Which classes have a point; shape (classes,), bool."""
        return self.counts > 0

    @cached_property
    def classes(self) -> Tensor:
        """Those classes; shape (known classes,), int64. Looked for once, since a GPU has to be waited for."""
        return torch.nonzero(self.known).squeeze(1)


def local_centroids(features: Tensor, labels: Tensor, classes: int) -> Centroids:
    """Return the mean feature of every class, eq. (7).

    Parameters
    ----------
    features : Tensor, shape (samples, features), float
        As received.
    labels : Tensor, shape (samples,), int64
    classes : int
    """
    sums = features.new_zeros(classes, features.shape[1]).index_add_(0, labels, features)
    counts = torch.bincount(labels, minlength=classes).to(features.dtype)
    return Centroids(sums / counts.clamp_min(1).unsqueeze(1), counts)


def mean_centroids(local: Sequence[Centroids]) -> Centroids:
    """Return the clients' mean of every class, weighted by their samples: FedProto's global prototypes.

    Parameters
    ----------
    local : sequence of Centroids
        At least one.
    """
    counts = torch.stack([centroids.counts for centroids in local])
    values = torch.stack([centroids.values for centroids in local])
    total = counts.sum(0)
    return Centroids((values * counts.unsqueeze(2)).sum(0) / total.clamp_min(1).unsqueeze(1), total)


def client_loss(logits: Tensor, received: Tensor, labels: Tensor, centroids: Centroids | None, weight: float) -> Tensor:
    """Cross-entropy plus the pull towards the centroid of the own class, eq. (10), in nats.

    Parameters
    ----------
    logits : Tensor, shape (batch, classes), float
        What the decoder makes of `received`.
    received : Tensor, shape (batch, features), float
    labels : Tensor, shape (batch,), int64
    centroids : Centroids or None
        Held constant; classes without one are not pulled, and with None nobody is.
    weight : float
        On the mean square over the features; eq. (10)'s lambda is this divided by the number of features.

    Returns
    -------
    Tensor, scalar
        Mean over the batch.
    """
    loss = cross_entropy(logits, labels)
    if centroids is None or weight == 0.0:
        return loss
    distance = (received - centroids.values.detach()[labels]).square().mean(dim=1)
    return loss + weight * (distance * centroids.known[labels]).mean()


def generator_loss(local: Sequence[Centroids], generated: Tensor, *, mode: Mode, temperature: float) -> Tensor:
    """Contrastive loss of the generated centroids, eq. (9), summed over classes and the clients that have them.

    The positive is not in the denominator, so the loss has no lower bound: it is -1 for a local centroid (1, 0) of
    class 0 and generated centroids (1, 0) and (0, 1).

    Parameters
    ----------
    local : sequence of Centroids
        One per client; only known classes count.
    generated : Tensor, shape (classes, features), float
        At least two classes.
    mode : {"normalised", "literal"}
        Similarity is the cosine over the temperature, or the inner product of the paper.
    temperature : float
        Of the normalised mode; positive.
    """
    anchors = torch.cat([centroids.values[centroids.classes] for centroids in local])
    labels = torch.cat([centroids.classes for centroids in local])
    if mode == "literal":
        similarity = anchors @ generated.T
    else:
        similarity = normalize(anchors, dim=1) @ normalize(generated, dim=1).T / temperature
    positive = similarity.gather(1, labels.unsqueeze(1)).squeeze(1)
    negatives = similarity.scatter(1, labels.unsqueeze(1), -math.inf)
    return torch.sum(negatives.logsumexp(dim=1) - positive)


class CentroidGenerator(nn.Module):
    """The semantic centroid generator: a trainable embedding per class and two fully connected layers.

    Parameters
    ----------
    classes : int
    features : int
        Size of an embedding, of the hidden layer and of a centroid.
    mode : {"normalised", "literal"}
        Every centroid is scaled to the norm of a transmitted feature, sqrt(features), or only held within it. (The
        paper's centroids are free; since eq. (9) has no lower bound, they grow until the loss overflows.)
    """

    def __init__(self, classes: int, features: int, mode: Mode = "normalised") -> None:
        super().__init__()
        self.mode = mode
        self.radius = math.sqrt(features)
        self.embedding = nn.Parameter(torch.randn(classes, features))
        self.layers = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, features))

    def forward(self) -> Tensor:
        """Return the centroids of all classes, shape (classes, features), float32."""
        raw: Tensor = self.layers(self.embedding)
        norm = raw.norm(dim=1, keepdim=True).clamp_min(torch.finfo(raw.dtype).tiny)
        scale: Tensor = self.radius / norm
        return raw * (scale if self.mode == "normalised" else scale.clamp_max(1.0))
