"""Images and classes in NumPy's ``.npz`` files, exactly as they are."""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from semfed.data.samples import SplitSettings, cut, decoded, require_no_split, split_by_class
from semfed.data.source import Decoded, Split, required_root
from semfed.errors import DataError

WHOLE = ("images", "labels")
PARTS = (("train_images", "train_labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test"))
"""Names of arrays: those that MedMNIST and this package use, and those of Keras."""
CHANNELS = (1, 3)
TARGET = "target_"
"""Begins the names of arrays of real numbers."""
ATTRIBUTE = "attribute_"
"""Begins the names of arrays by which training images may be dealt to clients."""


class NPZ:
    """Your own arrays in ``<root>/<file>``: ``images`` and ``labels``, or ``train_images``, ``test_labels``, ....

    Images are uint8, of shape (samples, height, width), (samples, height, width, channels) or (samples, channels,
    height, width) with one channel or three; labels are integers from 0. An array ``classes`` of texts names them.
    ``target_<name>``, or ``train_target_<name>`` and ``test_target_<name>``, is a real number of every image, which a
    task of kind regression estimates. ``attribute_<name>``, or ``train_attribute_<name>``, is a text or an integer of
    every (training) image, such as its writer, by which partition ``natural`` deals.
    """

    class Settings(SplitSettings):
        """Which files, and what of them is the test set."""

        file: str
        """Below the data root."""
        test_file: str | None = None
        """The test set, where it is a file of its own, with ``images`` and ``labels`` like the first one."""
        channels: Literal["first", "last"] | None = None
        """Where the axis of channels is; unset, it is the one that has one or three."""

    downloads = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def _paths(self, root: Path | None) -> list[Path]:
        folder, names = required_root(root, "npz"), (self.settings.file, self.settings.test_file)
        return [folder / name for name in names if name is not None]

    def files(self, root: Path | None) -> list[Path]:
        """Return the files that are there."""
        return [path for path in self._paths(root) if path.is_file()]

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        """Read everything; mean and standard deviation are those of the training images."""
        paths = self._paths(root)
        held = [_arrays(path) for path in paths]
        name = f"'{paths[0]}'"
        found = next((names for names in PARTS if set(names) <= held[0].keys()), None)
        if len(held) == 2:
            train, test = (self._split(arrays, WHOLE, path) for arrays, path in zip(held, paths, strict=True))
            targets = _of_images(held[0], TARGET, train, name), _of_images(held[1], TARGET, test, f"'{paths[1]}'")
            attributes = _of_images(held[0], ATTRIBUTE, train, name)
        elif found is not None:
            train, test = (self._split(held[0], names, paths[0]) for names in (found[:2], found[2:]))
            targets = (
                _of_images(held[0], f"train_{TARGET}", train, name),
                _of_images(held[0], f"test_{TARGET}", test, name),
            )
            attributes = _of_images(held[0], f"train_{ATTRIBUTE}", train, name)
        else:
            whole = self._split(held[0], WHOLE, paths[0])
            given, marks = (_of_images(held[0], prefix, whole, name) for prefix in (TARGET, ATTRIBUTE))
            held_out = split_by_class(whole[1], self.settings, name)
            train, test = cut(whole, held_out)
            kept, rest = ({key: numbers[rows] for key, numbers in given.items()} for rows in (~held_out, held_out))
            targets = kept, rest
            attributes = {key: array[~held_out] for key, array in marks.items()}
        if len(held) == 2 or found is not None:
            require_no_split(self.settings, name)
        made = decoded(paths[0].stem, self._classes(held[0], train, test, name), train, test)
        return replace(made, targets=targets, attributes=attributes)

    def _split(self, arrays: dict[str, npt.NDArray[Any]], names: tuple[str, ...], path: Path) -> Split:
        missing = [name for name in names if name not in arrays]
        if missing:
            wanted = " or ".join(f"{one[0]!r}, ..." for one in PARTS)
            raise DataError(
                f"'{path}' has no array {missing[0]!r} among {sorted(arrays)}: call arrays 'images' and 'labels', or "
                f"{wanted}"
            )
        images, labels = (arrays[name] for name in names)
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise DataError(
                f"'{path}' has {names[0]} of type {images.dtype} and shape {images.shape}: save uint8 from 0 to 255 of "
                "shape (samples, height, width) or with an axis of channels"
            )
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise DataError(
                f"'{path}' has {names[1]} of type {labels.dtype} and shape {labels.shape} for {len(images)} images: "
                "save an integer a sample"
            )
        return self._channels_first(images, f"{names[0]} of '{path}'"), labels.astype(np.int64)

    def _channels_first(self, images: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.uint8]:
        given = self.settings.channels
        if images.ndim == 3:
            if given is not None:
                raise DataError(
                    f"data.source.channels = {given!r} has no effect: {name} have no such axis; leave it out"
                )
            return images[:, None]
        first, last = images.shape[1] in CHANNELS, images.shape[3] in CHANNELS
        if given is None and first == last:
            raise DataError(
                f"{name} have the shape {images.shape}, where the axis of one or three channels is "
                f"{'either of two' if first else 'missing'}: "
                + ("set data.source.channels to 'first' or 'last'" if first else "save images of one or three channels")
            )
        if given == "first" or (given is None and first):
            return images
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    @staticmethod
    def _classes(arrays: dict[str, npt.NDArray[Any]], train: Split, test: Split, name: str) -> tuple[str, ...]:
        count = 1 + max(int(labels.max(initial=-1)) for _, labels in (train, test))
        if "classes" not in arrays:
            return tuple(map(str, range(count)))
        classes = arrays["classes"]
        if classes.dtype.kind != "U" or classes.ndim != 1 or len(classes) < count:
            raise DataError(
                f"{name} has classes of type {classes.dtype} and shape {classes.shape} for labels from 0 to "
                f"{count - 1}: save one text a class, or leave the array out"
            )
        return tuple(map(str, classes))


def _of_images(
    arrays: dict[str, npt.NDArray[Any]], prefix: str, split: Split, name: str
) -> dict[str, npt.NDArray[Any]]:
    """Return arrays of one value an image, by what follows a prefix in their names."""
    found = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
    for key, array in found.items():
        if array.shape != split[1].shape:
            raise DataError(
                f"{name} has {prefix}{key} of shape {array.shape} for {len(split[1])} images: save one value an image"
            )
    return found


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of a file."""
    if not path.is_file():
        raise DataError(f"file '{path}' does not exist: put it there, or set data.source.file or the data root")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' cannot be read ({error}): save it with numpy.savez") from error
