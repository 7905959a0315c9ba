"""A directory of class folders: how people bring their own (satellite) images."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import psutil
from pydantic import Field

from semfed.data import listing, pixels
from semfed.data.pixels import Depth, Reading
from semfed.data.samples import statistics
from semfed.data.source import Decoded, Split, required_root
from semfed.errors import DataError
from semfed.scenario.settings import StrictModel


def decode_all(images: Mapping[str, Sequence[Path]], reading: Reading) -> Split:
    """Decode the images of all classes.

    Parameters
    ----------
    images : mapping of str to sequence of Path
        Of every class.
    reading : Reading
        What to do with them; without a size all must have the same.

    Returns
    -------
    images : ndarray, shape (n, channels, height, width), uint8
        In the order of the classes.
    labels : ndarray, shape (n,), int64

    Raises
    ------
    DataError
        If an image cannot be decoded as `reading` says or has another size, or all together would not fit in memory.
    """
    paths = [path for members in images.values() for path in members]
    labels = np.repeat(np.arange(len(images)), [len(members) for members in images.values()]).astype(np.int64)
    decoded: list[pixels.Pixels] = []
    for path in paths:
        decoded.append(pixels.decode(path, reading))
        if len(decoded) == 1:
            _require_memory(len(paths) * decoded[0].nbytes, reading)
        _require_one_kind(len(decoded[0]), paths[0], len(decoded[-1]), path)
        if decoded[-1].shape != decoded[0].shape:
            raise DataError(
                f"'{path}' has {decoded[-1].shape[1:]} pixels where others have {decoded[0].shape[1:]}: "
                "set data.source.size to bring all to one size"
            )
    return np.stack(decoded), labels


def read_folder(
    folder: Path, *, size: int | None = None, grayscale: bool | None = None
) -> tuple[Split, tuple[str, ...]]:
    """Decode ``folder/<class>/<image>``, exactly or not at all.

    Parameters
    ----------
    folder : Path
    size, grayscale
        As `semfed.data.pixels.Reading` has them.

    Returns
    -------
    split : Split
        As `decode_all`.
    classes : tuple of str
        Sorted.

    Raises
    ------
    DataError
        If something in the folder would not be read, or as `decode_all`.
    """
    images = listing.scan(folder).read(nested=None)
    return decode_all(images, Reading(size, grayscale)), tuple(images)


def _require_one_kind(channels: int, one: Path, others: int, other: Path) -> None:
    if channels != others:
        grey, coloured = (one, other) if channels == 1 else (other, one)
        raise DataError(
            f"'{grey}' is grey and '{coloured}' is not: set data.source.grayscale to true for one channel, or to false "
            "for three"
        )


def _require_memory(needed: int, reading: Reading) -> None:
    memory = psutil.virtual_memory().total
    if needed > memory:
        raise DataError(
            f"decoded images would take {needed / 1e9:.0f} GB where this machine has {memory / 1e9:.0f}: lower "
            f"data.source.size, which is {reading.size}"
        )


class ImageFolder:
    """Your own images in ``<root>/<folder>/<class>/`` or, already split, in ``<root>/<folder>/{train,test}/<class>/``.

    Unsplit folders are split once: of every class, every ``1 / test_fraction``-th image is a test image. Hidden files
    and folders are no part of it; ``semfed data DIR`` lists what is read and what is not.
    """

    class Settings(StrictModel):
        """What to read and how; what would lose something is refused until it is asked for."""

        folder: str = "."
        """Below the data root."""
        size: int = Field(default=32, ge=1, le=4096)
        """Pixels a side after resizing."""
        grayscale: bool | None = None
        """One channel, or three; unset, three where not both grey and coloured images are found."""
        depth: Depth = "exact"
        """Refuse images of 16 bits a value, or ``reduce`` them to the higher eight."""
        background: int | None = Field(default=None, ge=0, le=255)
        """Grey level, from black to white, onto which transparent pixels are laid; unset, they are refused."""
        nested: bool | None = None
        """Whether images in subfolders of a class belong to it; unset, they are refused."""
        test_fraction: float = Field(default=0.2, gt=0, lt=1)
        """Of every class, where images are not split already."""

        @property
        def reading(self) -> Reading:
            """What becomes of an image."""
            return Reading(self.size, self.grayscale, self.depth, self.background)

    downloads = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def _folder(self, root: Path | None) -> Path:
        folder = required_root(root, "imagefolder") / self.settings.folder
        if not os.path.isdir(folder):
            raise DataError(f"image folder '{folder}' does not exist: set data.source.folder or the data root")
        return folder

    def files(self, root: Path | None) -> list[Path]:
        """Return every image and class folder, whether it is read or refused, also where links lead to them."""
        found: list[Path] = []
        for part in listing.parts(self._folder(root)).values():
            found += [part.folder, *(part.folder / name for name in part.images)]
            found += [path for paths in (*part.images.values(), *part.nested.values()) for path in paths]
        return found

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        """Decode everything; the mean and standard deviation are those of the training images."""
        folder, options = self._folder(root), self.settings
        images = self._images(listing.parts(folder))
        classes = tuple(next(iter(images.values())))
        if "all" not in images:
            if options.test_fraction != type(options)().test_fraction:
                raise DataError(
                    f"data.source.test_fraction = {options.test_fraction} has no effect: '{folder}' has a part 'test'; "
                    "leave it out"
                )
            train, test = (decode_all(images[part], options.reading) for part in listing.PARTS)
            first = [next(iter(images[part].values()))[0] for part in listing.PARTS]
            _require_one_kind(train[0].shape[1], first[0], test[0].shape[1], first[1])
        else:
            pictures, labels = decode_all(images["all"], options.reading)
            rank = np.concatenate([np.arange(count) for count in np.bincount(labels)])
            held_out = np.floor((rank + 1) * options.test_fraction) > np.floor(rank * options.test_fraction)
            train, test = (pictures[~held_out], labels[~held_out]), (pictures[held_out], labels[held_out])
            for part, side in (("training", train), ("test", test)):
                if len(np.unique(side[1])) < len(classes):
                    raise DataError(
                        f"'{folder}' has a class too small for test_fraction = {options.test_fraction}: it would have "
                        f"no {part} image"
                    )
        if (
            not options.grayscale and train[0].shape[1] == 1
        ):  # all are grey: three equal channels, as coloured ones have
            train, test = ((np.repeat(pictures, 3, axis=1), labels) for pictures, labels in (train, test))
        return Decoded(folder.name or "images", classes, train, test, *statistics(train[0]))

    def _images(self, parts: Mapping[str, listing.Listing]) -> dict[str, dict[str, tuple[Path, ...]]]:
        """Return what is read of every part, by class; the training part's classes are all."""
        read = {name: part.read(self.settings.nested) for name, part in parts.items() if name != "beside"}
        if "all" in read:
            return read
        if parts["beside"].images:
            names = ", ".join(f"'{parts['beside'].folder / name}'" for name in parts["beside"].images)
            raise DataError(f"{names}: neither train nor test, so that nobody reads it; move it away")
        for one, other in (("train", "test"), ("test", "train")):
            missing = [name for name in read[one] if name not in read[other]]
            if missing:
                raise DataError(f"class {missing[0]!r} is in '{parts[one].folder}' but not in '{parts[other].folder}'")
        return read
