"""What a latent source plugin is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from semfed.data.dataset import Dataset
from semfed.errors import DataError
from semfed.scenario import Scenario, TrainingSettings
from semfed.scenario.settings import StrictModel

Encode = Callable[[Tensor | None], Tensor]
"""From training rows, or None for the test set, to latents, shape (samples, width), float32, on the CPU."""


@dataclass(frozen=True)
class LatentContext:
    """What a source may use.

    Attributes
    ----------
    scenario : Scenario
        Of the arm.
    seed : int
    dataset : Dataset
    images : callable
        Standardised images of training rows, or of the test set for None.
    rows : callable
        The training rows of a user.
    data_root : Path or None
    device : torch.device
        Where encoders run.
    """

    scenario: Scenario
    seed: int
    dataset: Dataset
    images: Callable[[Tensor | None], Tensor]
    rows: Callable[[int], Tensor]
    data_root: Path | None
    device: torch.device


class ReadySettings(StrictModel):
    """Settings of a source that trains no encoders."""

    def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        names = [f"training.{name}" for name in TrainingSettings.model_fields if name != "device"]
        names += ["data.mean", "data.std", *(f"clients.{client.name}.encoder" for client in scenario.clients)]
        yield from ((name, f"{here} are ready: no encoder is trained on standardised images") for name in names)


class LatentSource(ABC):
    """A plugin of the entry point group ``semfed.latents``; ``Settings`` declares its options.

    The same settings, seed and data give the same latents in every process.

    Parameters
    ----------
    settings : StrictModel
    place : LatentContext
    """

    Settings: type[StrictModel] = StrictModel
    needs_root: ClassVar[bool] = True
    """Whether the data root is read."""

    def __init__(self, settings: StrictModel, place: LatentContext) -> None:
        self.place = place

    @abstractmethod
    def encoder(self, owner: int | None) -> Encode:
        """Return the encoder of a user, by its index, or of the access point for None.

        Raises
        ------
        DataError
            If its weights or files are missing or damaged.
        """

    def require(self) -> None:  # noqa: B027  # nothing to look for is the rule
        """Refuse, before any training, to go without an encoder; by default none is missing.

        Raises
        ------
        DataError
            If weights or files are missing or damaged, the access point's or a user's.
        """

    def network(self, owner: int | None) -> nn.Module:
        """Return the network of an encoder, with its initial weights: from standardised images to latents.

        An `Encode` of such a source has the trained one as its attribute ``network``.

        Raises
        ------
        DataError
            If latents come from elsewhere than a network that takes the run's images.
        """
        raise DataError(f"{type(self).__name__} has no network that makes latents of the run's images")

    def labels(self, rows: Tensor | None) -> Tensor:
        """Return the classes of training rows, or of the test set for None; shape (samples,), int64."""
        dataset = self.place.dataset
        return dataset.test.labels.cpu() if rows is None else dataset.train.labels.cpu()[rows]

    def samples(self) -> int:
        """Return the number of training samples, from which pilots are drawn."""
        return len(self.place.dataset.train)

    def private(self, user: int) -> Tensor:
        """Return the training rows on which a user trains its classifier."""
        return self.place.rows(user)

    def trained_on(self) -> Tensor:
        """Return the training rows on which any encoder or classifier is trained here; some may occur twice."""
        return torch.cat([self.private(user) for user in range(len(self.place.scenario.clients))])


def in_batches(encode: Callable[[Tensor], Tensor], inputs: Tensor, size: int) -> Tensor:
    """Run an encoder over inputs without gradients; the result is on the CPU."""
    with torch.no_grad():
        return torch.cat([encode(part).flatten(1).float().cpu() for part in torch.split(inputs, size)])
