"""What a data set plugin is: a class that lists its files and decodes them into arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from semfed.errors import DataError

Split = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""Images, shape (samples, channels, height, width), and their classes, shape (samples,)."""


@dataclass(frozen=True)
class Decoded:
    """Arrays of one data set; the fields mean what they mean in `semfed.data.Dataset`."""

    title: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Source(Protocol):
    """A data set plugin, constructed with its settings.

    A class attribute ``Settings`` (a `semfed.settings.StrictModel`) declares what a scenario may set, and ``downloads``
    whether there is anything to download.
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
    if not root.is_dir():
        raise DataError(f"data root '{root}' is not a folder: give an existing one with --data-root or SEMFED_DATA")
    return root
