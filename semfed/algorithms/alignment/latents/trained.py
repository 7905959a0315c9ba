"""Encoders trained here, apart from each other: own data, own initial weights, perhaps own architectures."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from semfed import models, seeding, training
from semfed.algorithms.alignment.latents.base import Encode, LatentContext, LatentSource, in_batches
from semfed.errors import DataError
from semfed.scenario import Scenario
from semfed.scenario.settings import StrictModel

BATCH = 2000


@dataclass(frozen=True)
class TrainedEncoder:
    """A trained network as an `Encode`."""

    network: nn.Module
    images: Callable[[Tensor | None], Tensor]

    def __call__(self, rows: Tensor | None) -> Tensor:
        """Return latents; see `Encode`."""
        return in_batches(self.network, self.images(rows), BATCH)


def _index(owner: int | None) -> int:
    return 0 if owner is None else owner + 1


class TrainedLatents(LatentSource):
    """Train every encoder as a classifier of the data set's classes; the latent is what precedes its last ReLU.

    The access point has the architecture ``model.encoder``, a user its own ``encoder`` or the same one. A user trains
    on its part of the data, the access point on images of its own choice.
    """

    needs_root = False

    class Settings(StrictModel):
        """Who trains on what."""

        access_point_images: int = Field(default=8000, ge=1)
        """Training images of the access point."""
        homogeneous: bool = False
        """Whether all users have the access point's architecture."""

        def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
            """Tell what has no effect; see `semfed.scenario.effects`."""
            for client in scenario.clients if self.homogeneous else ():
                yield f"clients.{client.name}.encoder", f"{here}.homogeneous = true gives all users one architecture"

    def __init__(self, settings: Settings, place: LatentContext) -> None:
        super().__init__(settings, place)
        self.settings = settings

    def network(self, owner: int | None) -> nn.Module:
        """Make an encoder with its initial weights; owner as in the base class."""
        place, index = self.place, _index(owner)
        choice = place.scenario.model.encoder
        if owner is not None and not self.settings.homogeneous:
            choice = place.scenario.clients[owner].encoder or choice
        return models.build(choice, place.dataset.shape, stream=(place.seed, "latent encoder", index)).to(place.device)

    def encoder(self, owner: int | None) -> Encode:
        """Train an encoder and return it; owner as in the base class."""
        place, index, encoder = self.place, _index(owner), self.network(owner)
        rows = place.rows(owner) if owner is not None else self._access_point_rows()
        images, labels = place.images(rows), place.dataset.train.labels[rows]
        with torch.no_grad():
            width = encoder(images[:1]).flatten(1).shape[1]
        with seeding.initialisation(place.seed, "latent head", index):
            head = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(width, len(place.dataset.classes)))
        head = head.to(place.device)

        def loss(batch: Tensor, wanted: Tensor) -> Tensor:
            return cross_entropy(head(encoder(batch)), wanted)

        generator = seeding.torch_generator(place.seed, "latent training", index, device=place.device)
        training.fit(loss, [encoder, head], images, labels, settings=place.scenario.training, generator=generator)
        return TrainedEncoder(encoder, place.images)

    def trained_on(self) -> Tensor:
        """Return the rows of all users, for encoders and classifiers, and those of the access point."""
        return torch.cat([super().trained_on(), self._access_point_rows()])

    def _access_point_rows(self) -> Tensor:
        asked, samples = self.settings.access_point_images, self.samples()
        if asked > samples:
            raise DataError(
                f"learner.latents.access_point_images = {asked}, but there are {samples} training images: lower it"
            )
        generator = seeding.torch_generator(self.place.seed, "access point")
        return torch.randperm(samples, generator=generator)[:asked].sort().values
