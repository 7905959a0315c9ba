"""What a data set is: uint8 images and integer classes, for training and for testing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor

from semfed.data.source import Attributes
from semfed.errors import DataError


@dataclass(frozen=True)
class ImageSet:
    """Images and their classes.

    Attributes
    ----------
    images : Tensor, shape (samples, channels, height, width), uint8
    labels : Tensor, shape (samples,), int64
        Index into the data set's classes.
    targets : mapping of str to Tensor, shape (samples,), float32
        Real numbers of every image, by their names; most data sets have none.
    """

    images: Tensor
    labels: Tensor
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "ImageSet":
        """Return the same on a device."""
        targets = {name: values.to(device) for name, values in self.targets.items()}
        return ImageSet(self.images.to(device), self.labels.to(device), targets)

    def take(self, rows: Tensor) -> "ImageSet":
        """Return the samples of some rows, shape (taken,), int64, in their order."""
        targets = {name: values[rows] for name, values in self.targets.items()}
        return ImageSet(self.images[rows], self.labels[rows], targets)


@dataclass(frozen=True)
class Dataset:
    """A decoded data set.

    Attributes
    ----------
    title : str
        What to call it in texts and figures, such as "CIFAR-10 (JPEG)".
    classes : tuple of str
        Names of the classes, in the order of their indices.
    train, test : ImageSet
    mean, std : tuple of float
        Per channel, of training images scaled to [0, 1].
    attributes : mapping of str to ndarray, shape (samples,), of str or integers
        By which training images may be dealt to clients, by their names; most data sets have none.
    """

    title: str
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    attributes: Attributes = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    def to(self, device: torch.device) -> "Dataset":
        """Return the data set with its tensors on a device; on the CPU they stay memory-mapped."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))


@dataclass(frozen=True)
class ImageFormat:
    """What networks have to know of a data set, without its images.

    Attributes
    ----------
    title : str
    classes : tuple of str
    shape : tuple of int
        Channels, height and width.
    mean, std : tuple of float
        With which images are standardised.
    """

    title: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def empty(self) -> Dataset:
        """Return a data set of this format without a single image."""
        none = ImageSet(torch.empty(0, *self.shape, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))
        return Dataset(self.title, self.classes, none, none, self.mean, self.std)


def standardise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Scale uint8 images to [0, 1] and standardise them per channel.

    Parameters
    ----------
    images : Tensor, shape (samples, channels, height, width), uint8
    mean, std : tuple of float, one per channel or one for all

    Returns
    -------
    Tensor, shape (samples, channels, height, width), float32
        On the device of `images`.

    Raises
    ------
    DataError
        If there is neither one value nor one a channel: grey images would become coloured.
    """
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, images.shape[1]):
            raise DataError(
                f"data.{name} has {len(values)} values for images of {images.shape[1]} channels: give one each"
            )
    centre, scale = _per_channel(mean, images.device), _per_channel(std, images.device)
    return images.float().div_(255).sub_(centre).div_(scale)


def unit_range(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Undo what `standardise` does after it has scaled pixels to [0, 1]: fidelity is told of pixels, not of features.

    Parameters
    ----------
    images : Tensor, shape (samples, channels, height, width), float32
        Standardised.
    mean, std : tuple of float, one per channel or one for all
        With which they were.

    Returns
    -------
    Tensor, shape (samples, channels, height, width), float32
        From 0 to 1, up to rounding; on the device of `images`.
    """
    return images * _per_channel(std, images.device) + _per_channel(mean, images.device)


@lru_cache(maxsize=16)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
