"""What follows from the seed before anything is exchanged: pilots, white features, classifiers; made once a process."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from semfed import models, seeding, training
from semfed.algorithms.alignment.latents.base import Encode, LatentContext, LatentSource
from semfed.algorithms.alignment.pairing import Options, Receiver, Sender, TargetWhitening, make_receiver, make_sender
from semfed.data import tasks
from semfed.errors import DataError
from semfed.scenario import Scenario, TrainingSettings
from semfed.scenario.choices import LatentsChoice
from semfed.scenario.plugins import parse
from semfed.scenario.settings import StrictModel

T = TypeVar("T")


class Once(Protocol):
    """Where results are kept, such as `semfed.flower.client.cache.ProcessCache.once`."""

    def __call__(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept under a key; `make` makes it the first time."""


class LatentSettings(StrictModel):
    """Latents, pilots and how they are treated."""

    latents: LatentsChoice = Field(default_factory=partial(parse, "latents", "trained"))
    """Where the features of the access point and the users come from."""
    pilots: int = Field(default=8000, ge=2)
    """Training images that the access point and all users encode."""
    pilot_images: Literal["held-out", "any"] = "held-out"
    """Whether pilots are images on which no encoder and no classifier is trained, or any training images."""
    pilot_fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of the pilots that is used: one common subset."""
    target_whitening: TargetWhitening = "full"
    """Whiten the users' latents, or only scale them."""
    widely_linear: bool = False
    """Treat complex signals as pairs of reals."""
    ridge: float = Field(default=0.0, ge=0)
    """Added to the variances that are whitened, as a share of their mean."""
    classifier: TrainingSettings = TrainingSettings(epochs=10, optimizer="adam", lr=0.01)
    """How a user's classifier learns from its own clean latents."""

    def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        yield f"{here}.classifier.device", "it trains where training.device says"
        for name in (f"{here}.classifier", "training"):
            for setting in ("optimizer_state", "schedule"):
                yield f"{name}.{setting}", "encoders and classifiers are trained once, before the first round"

    @property
    def options(self) -> Options:
        """What the numerics need to know."""
        return Options(self.target_whitening, self.widely_linear, self.ridge)


@dataclass(frozen=True)
class AccessPoint:
    """What everyone knows of the access point: its pilots, and its latents of the test images."""

    sender: Sender
    test: Tensor
    white_test: Tensor


@dataclass(frozen=True)
class User:
    """What a user has: its pilots, its classifier, and its own latents of the test images to compare with."""

    receiver: Receiver
    classifier: nn.Module
    test: Tensor


class AlignmentData:
    """Latents of one trial.

    Parameters
    ----------
    place : LatentContext
    settings : LatentSettings
    once : Once
        The same for all trials of a process.
    """

    def __init__(self, place: LatentContext, settings: LatentSettings, once: Once) -> None:
        self.place, self.settings, self._once = place, settings, once
        scenario = place.scenario
        self._origin = str((scenario.model, scenario.clients, scenario.training, settings.latents))
        self.task_name = scenario.clients[0].task
        self.task = scenario.tasks[self.task_name]

    def access_point(self) -> AccessPoint:
        """Return the access point's side.

        Raises
        ------
        DataError
            If latents or pilots cannot be used.
        """

        def made() -> AccessPoint:
            options = self.settings.options
            sender = make_sender(self._latents(None, self._pilots()), options)
            test = self._latents(None, None)
            return AccessPoint(sender, test, sender.whitening.apply(options.features(test)))

        return self._once(self._pilot_key("access point"), made)

    def user(self, index: int) -> User:
        """Return a user's side; errors as in `access_point`."""

        def made() -> User:
            owner = f"user {self.place.scenario.clients[index].name!r}"
            pilots = self._latents(index, self._pilots())
            receiver = make_receiver(self.access_point().sender, pilots, self.settings.options, owner=owner)
            return User(receiver, self._classifier(index), self._latents(index, None))

        return self._once(self._pilot_key("user", index), made)

    def rehearse(self, user: int) -> None:
        """See that there are encoders and, where they are networks, make a user's and its classifier; none is trained.

        Raises
        ------
        SemfedError
            If latents cannot be used, or a network cannot be made.
        """
        source, place = self._source(), self.place
        self._once(self._key("required"), source.require)
        if type(source).network is LatentSource.network:  # latents come from elsewhere, and their width with them
            return
        image = torch.zeros(1, *place.dataset.shape, device=place.device)
        with torch.no_grad():
            *_, latents = (source.network(owner)(image) for owner in (None, user))
        self.untrained_classifier(latents.flatten(1).shape[1])

    def network(self, owner: int | None, *, trained: bool) -> nn.Module:
        """Return the network that makes a user's latents, or the access point's for None.

        Parameters
        ----------
        owner : int or None
        trained : bool
            False for one of the same architecture with any weights: it takes no data to make it.

        Raises
        ------
        DataError
            If there is none.
        """
        if not trained:
            return self._source().network(owner)
        found = getattr(self._encoder(owner), "network", None)
        if not isinstance(found, nn.Module):
            raise DataError(
                f"latents {self.settings.latents.name!r} come from no network that takes the run's images, so no link "
                "can take images either"
            )
        return found

    def untrained_classifier(self, width: int) -> nn.Module:
        """Return the network of a classifier of latents, with any weights."""
        place = self.place
        network = models.build(
            place.scenario.model.decoder,
            (width,),
            outputs=len(self.task.symbols),
            stream=(place.seed, "classifier", 0),
        )
        return network.to(place.device)

    def test_values(self) -> Tensor:
        """Return the task's values of the test images, shape (samples,), int64."""
        return self._values(self._labels(None))

    def _source(self) -> LatentSource:
        def opened() -> LatentSource:
            source: LatentSource = self.settings.latents.make(self.place)
            return source

        return self._once(self._key("source"), opened)

    def _encoder(self, owner: int | None) -> Encode:
        return self._once(self._key("encoder", owner), lambda: self._source().encoder(owner))

    def _latents(self, owner: int | None, rows: Tensor | None) -> Tensor:
        """Return latents with samples in columns, float64."""
        return self._encode(owner, rows).T.double()

    def _encode(self, owner: int | None, rows: Tensor | None) -> Tensor:
        """Ask a source for latents and see that they are; a plugin may return anything."""
        latents = self._encoder(owner)(rows)
        expected = len(self._labels(rows))
        right = latents.ndim == 2 and len(latents) == expected and latents.is_floating_point()
        if not right or not bool(torch.isfinite(latents).all()):
            name = "the access point" if owner is None else f"user {self.place.scenario.clients[owner].name!r}"
            found = f"{list(latents.shape)} {latents.dtype}" if not right else "numbers that are not finite"
            raise DataError(
                f"latents {self.settings.latents.name!r} of {name}: {found} instead of finite floats of shape "
                f"({expected}, width)"
            )
        return latents

    def _labels(self, rows: Tensor | None) -> Tensor:
        """Ask a source for classes and see that they are."""
        labels, classes = self._source().labels(rows), len(self.place.dataset.classes)
        if labels.is_floating_point() or bool(((labels < 0) | (labels >= classes)).any()):
            raise DataError(
                f"latents {self.settings.latents.name!r}: labels from {labels.min()} to {labels.max()} for {classes} "
                f"classes: give integers from 0 to {classes - 1}"
            )
        return labels

    def _pilots(self) -> Tensor:
        """Return the pilots' training rows, the same for everyone; fewer pilots are the first of more."""
        asked, source = self.settings.pilots, self._source()
        generator = seeding.torch_generator(self.place.seed, "pilots")
        rows = torch.randperm(source.samples(), generator=generator)
        if self.settings.pilot_images == "held-out":
            rows = rows[torch.isin(rows, source.trained_on(), invert=True)]
        if asked > len(rows):
            raise DataError(
                f"learner.pilots = {asked}, but {len(rows)} of {source.samples()} training images can be pilots with "
                f"learner.pilot_images = {self.settings.pilot_images!r}: lower it, or train encoders and classifiers "
                "on fewer"
            )
        return rows[: round(asked * self.settings.pilot_fraction)]

    def _classifier(self, user: int) -> nn.Module:
        """Train a classifier on a user's own clean latents."""
        place, settings = self.place, self.settings.classifier

        def trained() -> nn.Module:
            rows = self._source().private(user)
            latents = self._encode(user, rows).to(place.device)
            values = self._values(self._labels(rows)).to(place.device)
            network = models.build(
                place.scenario.model.decoder,
                tuple(latents.shape[1:]),
                outputs=len(self.task.symbols),
                stream=(place.seed, "classifier", user),
            ).to(place.device)
            training.fit(
                lambda batch, wanted: cross_entropy(network(batch), wanted),
                [network],
                latents,
                values,
                settings=settings,
                generator=seeding.torch_generator(place.seed, "classifier training", user, device=place.device),
            )
            return network

        return self._once(self._key("classifier", user, settings, str(self.task)), trained)

    def _values(self, classes: Tensor) -> Tensor:
        """Return the task's values of classes; every class must have one."""
        values = tasks.label_map(self.task, self.task_name, self.place.dataset.classes)[classes]
        if bool((values < 0).any()):
            raise DataError(f"tasks.{self.task_name}: every class needs a value here; name the others with 'rest'")
        return values

    def _key(self, *parts: Any) -> Hashable:
        place = self.place
        return (self._origin, place.seed, place.data_root, place.device, *parts)

    def _pilot_key(self, *parts: Any) -> Hashable:
        settings = self.settings
        drawn = settings.pilots, settings.pilot_images, settings.pilot_fraction
        return self._key(drawn, settings.options, settings.classifier, *parts)
