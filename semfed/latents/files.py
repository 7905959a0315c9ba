"""Precomputed latents with their labels, from ``.npz`` or ``.safetensors`` files; nothing is ever unpickled."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from semfed.errors import DataError
from semfed.latents.base import Encode, LatentSource, Place, ReadySettings
from semfed.scenario import Scenario

NAMES = ("train", "train_labels", "test", "test_labels")


class FileLatents(LatentSource):
    """One file for the access point and one for every user, all of the same images in the same order.

    A file holds the arrays ``train`` and ``test``, shape (samples, width), and ``train_labels`` and ``test_labels``,
    shape (samples,), integers that index the classes of the scenario's data set.
    """

    class Settings(ReadySettings):
        """Paths, relative to the data root or absolute."""

        access_point: str
        users: tuple[str, ...] = Field(min_length=1)

        def check(self, scenario: Scenario) -> None:
            """Refuse fewer or more files than users."""
            users = len(scenario.clients)
            if len(self.users) != users:
                raise ValueError(f"latents.users names {len(self.users)} files for {users} users: name one each")

    def __init__(self, settings: Settings, place: Place) -> None:
        super().__init__(settings, place)
        self.settings = settings
        self._own = read_latents(self._path(settings.access_point))

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
            arrays = read_latents(path)
            for name in ("train_labels", "test_labels"):
                if not torch.equal(arrays[name], self._own[name]):
                    raise DataError(
                        f"'{path}': {name} ({len(arrays[name])}) differ from the access point's "
                        f"({len(self._own[name])}): both files must be of the same images in the same order"
                    )
        return lambda rows: arrays["test"] if rows is None else arrays["train"][rows]

    def labels(self, rows: Tensor | None) -> Tensor:
        """Return the labels of the access point's file."""
        return self._own["test_labels"] if rows is None else self._own["train_labels"][rows]

    def samples(self) -> int:
        """Return the number of training samples in the file."""
        return len(self._own["train_labels"])

    def private(self, user: int) -> Tensor:
        """Return all training rows: files do not say who owns which."""
        return torch.arange(self.samples())

    def _path(self, name: str) -> Path:
        return (self.place.data_root or Path()) / Path(name).expanduser()


def read_latents(path: Path) -> dict[str, Tensor]:
    """Read and check one file.

    Returns
    -------
    dict
        ``train`` and ``test`` float32, ``train_labels`` and ``test_labels`` int64.

    Raises
    ------
    DataError
        If it cannot be read without unpickling, lacks an array, or has one of another shape or type.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: torch.from_numpy(archive[name]) for name in NAMES if name in archive}
        elif path.suffix == ".safetensors":
            arrays = {name: tensor for name, tensor in load_file(path).items() if name in NAMES}
        else:
            raise DataError(f"'{path}': latents are read from .npz and .safetensors files only")
    except (OSError, ValueError, TypeError, zipfile.BadZipFile, SafetensorError) as error:
        raise DataError(f"'{path}': latents cannot be read ({error})") from error
    missing = [name for name in NAMES if name not in arrays]
    if missing:
        raise DataError(f"'{path}' has no array {missing[0]!r}: write {', '.join(NAMES)}")
    for part in ("train", "test"):
        latents, labels = arrays[part], arrays[f"{part}_labels"]
        if latents.ndim != 2 or labels.shape != latents.shape[:1] or labels.is_floating_point():
            raise DataError(
                f"'{path}': {part} is {list(latents.shape)} with {part}_labels {list(labels.shape)} {labels.dtype}: "
                "write (samples, width) and integers (samples,)"
            )
    return {name: tensor.long() if name.endswith("labels") else tensor.float() for name, tensor in arrays.items()}
