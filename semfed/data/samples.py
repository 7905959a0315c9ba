"""From samples of other libraries, images with their classes, to arrays: exactly, or as a setting asks for."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import psutil
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from semfed import seeding
from semfed.data import pixels
from semfed.data.pixels import Depth, Reading
from semfed.data.source import Decoded, Split
from semfed.errors import DataError
from semfed.scenario.foreign import reason
from semfed.scenario.settings import StrictModel


class PixelSettings(StrictModel):
    """What becomes of images; what would lose something is refused until it is asked for."""

    resize: int | None = Field(default=None, ge=1, le=4096)
    """Pixels a side after resizing; unset, images of different sizes are refused."""
    grayscale: bool | None = None
    """One channel, or three; unset, grey images have one and coloured ones three, and both together are refused."""
    depth: Depth = "exact"
    """Refuse images of 16 bits a value, or ``reduce`` them to the higher eight."""
    background: int | None = Field(default=None, ge=0, le=255)
    """Grey level, from black to white, onto which transparent pixels are laid; unset, they are refused."""

    @property
    def reading(self) -> Reading:
        """The same for `semfed.data.pixels`."""
        return Reading(self.resize, self.grayscale, self.depth, self.background)


class SplitSettings(StrictModel):
    """How a data set without a test part gets one."""

    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of every class that becomes the test set, where the data set has none."""
    split_seed: int = Field(default=0, ge=0)
    """Decides which images that are. It is the data set's, not the trial's: the test set is the same for all seeds."""


class Samples(Protocol):
    """What gives pairs of an image and its class by their index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def decode_samples(samples: Samples, reading: Reading, name: str) -> Split:
    """Decode all samples in their order.

    Parameters
    ----------
    samples : Samples
        Images are PIL's, uint8 tensors of shape (channels, height, width) or (height, width), or uint8 arrays of shape
        (height, width) or (height, width, channels), with one channel or three. Classes are integers.
    reading : Reading
        What to do with the images.
    name : str
        What to call them in messages.

    Returns
    -------
    images : ndarray, shape (samples, channels, height, width), uint8
    labels : ndarray, shape (samples,), int64

    Raises
    ------
    DataError
        If there are none, one cannot be had or is no such pair, or images differ in size or channels.
    """
    count = len(samples)
    labels = np.empty(count, dtype=np.int64)
    images: npt.NDArray[np.uint8] | None = None
    for row in range(count):
        here = f"{name}[{row}]"
        image, labels[row] = _pair(samples, row, here)
        decoded = _pixels(image, reading, here)
        if images is None:
            images = _room(count, decoded)
        if len(decoded) != images.shape[1]:
            grey, coloured = (f"{name}[0]", here) if len(decoded) > 1 else (here, f"{name}[0]")
            raise DataError(
                f"'{grey}' is grey and '{coloured}' is not: set data.source.grayscale to true for one channel, or to "
                "false for three"
            )
        if decoded.shape != images.shape[1:]:
            raise DataError(
                f"'{here}' has {decoded.shape[1:]} pixels where others have {images.shape[2:]}: set data.source.resize "
                "to bring all to one size"
            )
        images[row] = decoded
    if images is None:
        raise DataError(f"{name} has no samples: fetch its files again, or change its arguments")
    return images, labels


def split_by_class(labels: npt.NDArray[np.int64], settings: SplitSettings, name: str) -> npt.NDArray[np.bool_]:
    """Return which samples are the test set: of every class the same share, rounded, drawn with a fixed seed.

    Raises
    ------
    DataError
        If a class would have no image for training, or none for the test.
    """
    held_out = np.zeros(len(labels), dtype=bool)
    generator = seeding.numpy_generator(settings.split_seed, "test set")
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        count = round(settings.test_fraction * len(rows))
        if not 0 < count < len(rows):
            raise DataError(
                f"{name}: class {label} has {len(rows)} images, of which data.source.test_fraction = "
                f"{settings.test_fraction:g} makes {count} test images: change it, so that both parts have some"
            )
        held_out[rows[:count]] = True
    return held_out


def parted(whole: Split, settings: SplitSettings, name: str) -> tuple[Split, Split]:
    """Return the training and the test part of a data set that has none; see `split_by_class`."""
    return cut(whole, split_by_class(whole[1], settings, name))


def cut(whole: Split, held_out: npt.NDArray[np.bool_]) -> tuple[Split, Split]:
    """Return the samples that are not held out, and those that are."""
    images, labels = whole
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def require_no_split(settings: SplitSettings, name: str) -> None:
    """Refuse settings of a split where the data set comes with a test set of its own.

    Raises
    ------
    DataError
    """
    for key, field in SplitSettings.model_fields.items():
        if getattr(settings, key) != field.default:
            raise DataError(
                f"data.source.{key} = {getattr(settings, key):g} has no effect: {name} comes with a test set; leave it "
                "out"
            )


def statistics(images: npt.NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation, by channel, of images scaled to [0, 1].

    They are those of the histogram, so that no copy of the images is made; a channel of one level has 1e-6.

    Parameters
    ----------
    images : ndarray, shape (samples, channels, height, width), uint8
    """
    levels = np.arange(256) / 255
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for some in np.array_split(images, 1 + len(images) // 1000):
        for channel, counted in enumerate(counts):
            counted += np.bincount(some[:, channel].ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    std = np.sqrt((shares * (levels - mean[:, None]) ** 2).sum(axis=1))
    return tuple(mean.tolist()), tuple(np.maximum(std, 1e-6).tolist())


def decoded(title: str, classes: Sequence[str], train: Split, test: Split) -> Decoded:
    """Return a data set with the statistics of its training images.

    Raises
    ------
    DataError
        If the parts' images differ in shape.
    """
    one, other = train[0].shape[1:], test[0].shape[1:]
    if one != other:
        raise DataError(
            f"{title}: training images have (channels, height, width) = {one} and test images {other}: set "
            "data.source.resize or data.source.grayscale, or bring them to one shape"
        )
    return Decoded(title, tuple(classes), train, test, *statistics(train[0]))


def _room(count: int, first: pixels.Pixels) -> npt.NDArray[np.uint8]:
    needed, memory = count * first.nbytes, psutil.virtual_memory().total
    if needed > memory:
        raise DataError(
            f"decoded images would take {needed / 1e9:.0f} GB where this machine has {memory / 1e9:.0f}: set a smaller "
            "data.source.resize"
        )
    return np.empty((count, *first.shape), dtype=np.uint8)


def _pair(samples: Samples, row: int, name: str) -> tuple[Any, int]:
    try:
        image, label = samples[row]
    except Exception as error:
        raise DataError(f"'{name}' cannot be had as an image and its class ({reason(error)}): mend the data") from error
    if isinstance(label, Tensor):
        label = label.cpu().numpy()
    scalar = label.ndim == 0 and label.dtype.kind in "iu" if isinstance(label, np.ndarray) else False
    if not scalar and (isinstance(label, bool) or not isinstance(label, int | np.integer)):
        raise DataError(
            f"'{name}' has a {type(label).__name__} for a class where an integer is needed: choose another target by "
            "the arguments, or wrap the data set in a class"
        )
    if label < 0:
        raise DataError(f"'{name}' has class {int(label)}, so none: take a part of the data set that has classes")
    return image, int(label)


def _pixels(image: Any, reading: Reading, name: str) -> pixels.Pixels:
    if isinstance(image, Image.Image):
        return pixels.of_image(image, reading, name)
    kind = f"{image.dtype}" if isinstance(image, Tensor | np.ndarray) else type(image).__name__
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.ndim in (2, 3):
        array = image.cpu().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    elif isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
        array = image
    else:
        raise DataError(f"'{name}' is an image of type {kind}: give uint8 from 0 to 255, or an image of PIL's")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 3 and array.shape[2] != 3:
        raise DataError(f"'{name}' has {array.shape[2]} channels: give images of one or three")
    return pixels.of_image(Image.fromarray(np.ascontiguousarray(array)), reading, name)
