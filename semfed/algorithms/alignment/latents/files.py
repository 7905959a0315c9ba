"""Precomputed latents with their labels, from ``.npz`` or ``.safetensors`` files; nothing is ever unpickled."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor

from semfed import seeding
from semfed.algorithms.alignment.latents.base import Encode, LatentContext, LatentSource, ReadySettings
from semfed.errors import DataError
from semfed.scenario import Scenario
from semfed.scenario.paths import as_path

NAMES = ("train", "train_labels", "test", "test_labels")


class FileLatents(LatentSource):
    """One file for the access point and one for every user, all of the same images in the same order.

    A file holds the arrays ``train`` and ``test``, shape (samples, width), and ``train_labels`` and ``test_labels``,
    shape (samples,), integers that index the classes of the scenario's data set.
    """

    class Settings(ReadySettings):
        """Paths, relative to the data root or absolute."""

        access_point: str
        """The access point's file."""
        users: tuple[str, ...] = Field(min_length=1)
        """One a user, in their order."""
        classifier_share: float = Field(default=0.5, gt=0, le=1)
        """Share of the training samples, drawn at random, on which classifiers are trained. Held-out pilots come from
        the others; on what the encoders were trained, only the files' author knows."""

        def check(self, scenario: Scenario) -> None:
            """Refuse fewer or more files than users."""
            users = len(scenario.clients)
            if len(self.users) != users:
                raise ValueError(f"latents.users names {len(self.users)} files for {users} users: name one each")

    def __init__(self, settings: Settings, place: LatentContext) -> None:
        super().__init__(settings, place)
        self.settings = settings
        self._classes = len(place.dataset.classes)
        self._own = read_latents(self._path(settings.access_point), self._classes)

    def encoder(self, owner: int | None) -> Encode:
        """Return a look-up into the file; owner as in the base class.

        Raises
        ------
        DataError
            If the file cannot be used, or is of other images than the access point's.
        """
        arrays = self._own
        if owner is not None:
            path = self._path(self.settings.users[owner])
            arrays = read_latents(path, self._classes)
            for name in ("train_labels", "test_labels"):
                if not torch.equal(arrays[name], self._own[name]):
                    raise DataError(
                        f"'{path}': {name} ({len(arrays[name])}) differ from the access point's "
                        f"({len(self._own[name])}): both files must be of the same images in the same order"
                    )
        return lambda rows: arrays["test"] if rows is None else arrays["train"][rows]

    def require(self) -> None:
        """Read the files of all users."""
        for owner in range(len(self.settings.users)):
            self.encoder(owner)

    def labels(self, rows: Tensor | None) -> Tensor:
        """Return the labels of the access point's file."""
        return self._own["test_labels"] if rows is None else self._own["train_labels"][rows]

    def samples(self) -> int:
        """Return the number of training samples in the file."""
        return len(self._own["train_labels"])

    def private(self, user: int) -> Tensor:
        """Return the same rows for all users: files do not say who owns which."""
        generator, samples = seeding.torch_generator(self.place.seed, "classifier rows"), self.samples()
        count = math.ceil(self.settings.classifier_share * samples)
        return torch.randperm(samples, generator=generator)[:count].sort().values

    def _path(self, name: str) -> Path:
        return (self.place.data_root or Path()) / as_path(name)


def read_latents(path: Path, classes: int) -> dict[str, Tensor]:
    """Read and check one file.

    Latents of another type become float32 where they keep their values, up to the rounding of float64.

    Parameters
    ----------
    path : Path
    classes : int
        Number of classes: labels are 0 to one less.

    Returns
    -------
    dict
        ``train`` and ``test`` float32, ``train_labels`` and ``test_labels`` int64.

    Raises
    ------
    DataError
        If it cannot be read without unpickling, lacks an array, or has one of another shape, type or range.
    """
    if path.suffix not in (".npz", ".safetensors"):
        raise DataError(f"'{path}': latents are read from .npz and .safetensors files only")
    try:
        arrays = _npz(path) if path.suffix == ".npz" else _safetensors(path)
    except Exception as error:  # zipfile, zlib, NumPy and safetensors raise what they like
        raise DataError(f"'{path}': latents cannot be read ({error})") from error
    missing = [name for name in NAMES if name not in arrays]
    if missing:
        raise DataError(f"'{path}' has no array {missing[0]!r}: write {', '.join(NAMES)}")
    for part in ("train", "test"):
        latents, labels = arrays[part], arrays[f"{part}_labels"]
        if latents.ndim != 2 or labels.shape != latents.shape[:1] or labels.dtype.kind not in "iu":
            raise DataError(
                f"'{path}': {part} is {list(latents.shape)} with {part}_labels {list(labels.shape)} {labels.dtype}: "
                "write (samples, width) and integers (samples,)"
            )
        if 0 in latents.shape:
            raise DataError(f"'{path}': {part} is {list(latents.shape)}: write at least one sample and one feature")
        for row in np.flatnonzero((labels < 0) | (labels >= classes))[:1]:
            raise DataError(
                f"'{path}': {part}_labels[{row}] is {labels[row]}, but the data set has {classes} classes: count them "
                f"from 0 to {classes - 1}"
            )
        arrays[part] = _as_float32(latents, f"'{path}': {part}")
    if arrays["train"].shape[1] != arrays["test"].shape[1]:
        widths = " and ".join(str(arrays[part].shape[1]) for part in ("train", "test"))
        raise DataError(f"'{path}': train and test have latents of {widths} numbers: write one encoder's")
    return {
        name: torch.from_numpy(array.astype(np.int64) if name.endswith("labels") else array)
        for name, array in arrays.items()
    }


def _npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in NAMES if name in archive}


def _safetensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    tensors = {name: tensor for name, tensor in load_file(path).items() if name in NAMES}
    small = {name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.element_size() < 4}
    return {name: (tensor.float() if name in small else tensor).numpy() for name, tensor in tensors.items()}


def _as_float32(array: npt.NDArray[Any], what: str) -> npt.NDArray[np.float32]:
    """Convert without a silent loss: integers exactly, floats to the nearest, and nothing that is no finite number."""
    if array.dtype.kind not in "fiu":
        raise DataError(f"{what} is of type {array.dtype}: write floats")
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype=np.float32)
    wrong = ~np.isfinite(converted)
    if array.dtype.kind != "f":
        wrong |= converted.astype(np.longdouble) != array.astype(np.longdouble)
    for row, column in np.argwhere(wrong)[:1]:
        raise DataError(
            f"{what}[{row}, {column}] is {array[row, column]}, which float32 cannot hold: write finite floats"
        )
    return converted
