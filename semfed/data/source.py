"""What a data set plugin is: a class that lists its files and decodes them into arrays."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from semfed.errors import DataError

Split = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""Images, shape (samples, channels, height, width), and their classes, shape (samples,)."""
Targets = Mapping[str, npt.NDArray[np.floating[Any]]]
"""Real numbers of every image by their names, shape (samples,) each."""
Attributes = Mapping[str, npt.NDArray[Any]]
"""Texts or integers of every training image by their names, shape (samples,) each."""


@dataclass(frozen=True)
class Decoded:
    """Arrays of one data set; the fields mean what they mean in `semfed.data.Dataset`."""

    title: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    targets: tuple[Targets, Targets] = field(default_factory=lambda: ({}, {}))
    """Of the training and of the test images, for tasks of regression."""
    attributes: Attributes = field(default_factory=dict)
    """Of the training images: who wrote them, where they were taken; for partitions, see `AttributePartition`."""

    def checked(self, source: str) -> "Decoded":
        """Return the same with labels as int64 and targets as float32, if it is what it claims to be.

        Raises
        ------
        DataError
            If a shape, a type or a label is not, which would otherwise be converted or read from the wrong end.
        """

        def require(holds: bool, problem: str) -> None:
            if not holds:
                raise DataError(f"data source {source!r} gives {problem}: mend the source")

        splits: list[Split] = []
        for part, (images, labels) in (("training", self.train), ("test", self.test)):
            shape, count = images.shape, len(self.classes)
            require(images.dtype == np.uint8, f"{part} images of type {images.dtype} instead of uint8")
            require(len(shape) == 4, f"{part} images of shape {shape} instead of (samples, channels, height, width)")
            require(min(shape) > 0, f"{part} images of shape {shape}")
            require(shape[1:] == self.train[0].shape[1:], f"{part} images of shape {shape[1:]} unlike the others")
            require(labels.dtype.kind in "iu", f"{part} labels of type {labels.dtype} instead of integers")
            require(labels.shape == shape[:1], f"{part} labels of shape {labels.shape} for {shape[0]} images")
            for row in np.flatnonzero((labels < 0) | (labels >= count))[:1]:
                require(False, f"{part} label {labels[row]} at {row}, with {count} classes from 0 to {count - 1}")
            splits.append((images, labels.astype(np.int64)))
        require(len(set(self.classes)) == len(self.classes), "two classes of one name")
        for name, values in (("mean", self.mean), ("std", self.std)):
            right = len(values) in (1, self.train[0].shape[1]) and bool(np.isfinite(values).all())
            require(right and (name == "mean" or min(values) > 0), f"{name} = {values}")
        require(self.targets[0].keys() == self.targets[1].keys(), "other targets for training than for the test")
        given: list[Targets] = []
        for part, targets, split in zip(("training", "test"), self.targets, splits, strict=True):
            for name, numbers in targets.items():
                real = numbers.dtype.kind == "f" and numbers.shape == split[1].shape and np.isfinite(numbers).all()
                require(bool(real), f"{part} targets {name!r} that are not one finite real number an image")
            given.append({name: numbers.astype(np.float32) for name, numbers in targets.items()})
        for name, marks in self.attributes.items():
            require(marks.dtype.kind in "iuU", f"attribute {name!r} of type {marks.dtype} instead of texts or integers")
            count = len(splits[0][1])
            require(marks.shape == (count,), f"attribute {name!r} of shape {marks.shape} for {count} training images")
        return replace(self, train=splits[0], test=splits[1], targets=(given[0], given[1]))


class Source(Protocol):
    """A data set plugin, constructed with its settings.

    A class attribute ``Settings`` (a `semfed.scenario.settings.StrictModel`) declares what a scenario may set,
    ``downloads`` whether there is anything to download, and ``needs_root`` whether the data root is read; both are so
    if unset.
    """

    settings: Any

    def files(self, root: Path | None) -> list[Path] | None:
        """Return the files that it reads, so that a decoded copy can be kept; None if a copy is not worth it."""

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        """Decode everything.

        Raises
        ------
        DataError
            If files are missing or damaged, with the remedy.
        """


def required_root(root: Path | None, source: str) -> Path:
    """Return the data root, or say what is missing."""
    if root is None:
        raise DataError(f"data source {source!r} needs a data root: give --data-root DIR or set SEMFED_DATA")
    if not os.path.isdir(root):
        raise DataError(f"data root '{root}' is not a folder: give an existing one with --data-root or SEMFED_DATA")
    return root
