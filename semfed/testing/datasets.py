"""Checks of data sets: what partitions, tasks and networks rely on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semfed import seeding
from semfed.data.source import Decoded, Source
from semfed.errors import DataError
from semfed.scenario.plugins import Plugin
from semfed.testing.check import Subject, require, without_global_draws
from semfed.testing.kit import Kit, Part


@dataclass(frozen=True)
class DatasetSubject(Subject):
    """A data set and where its files are.

    Attributes
    ----------
    root : Path or None
        The data root.
    """

    root: Path | None

    def make(self) -> Source:
        """Make the source."""
        source: Source = self.choice.make()
        return source

    def read(self) -> Decoded:
        """Decode everything, without any download."""
        return self.make().read(self.root, download=False)


def _subject(choice: Plugin, root: Path | None = None) -> DatasetSubject:
    return DatasetSubject(choice, root)


KIT = Kit("datasets", _subject)


def check_dataset(part: Part, *, root: Path | None = None) -> dict[str, str]:
    """Run all checks of a data set; nothing is downloaded.

    Parameters
    ----------
    part : str, type or mapping
        Its name, the class, or a table with ``name`` and settings.
    root : Path, optional
        The data root, where it needs one.

    Returns
    -------
    dict of str to str
        By check, ``passed``, or why it does not apply.

    Raises
    ------
    CheckFailed
        With one line for every check that failed.
    """
    return KIT.run(part, root=root)


@KIT.check
def arrays_are_what_they_claim_to_be(subject: DatasetSubject) -> None:
    """Shapes, types and labels of training and test images, classes, mean and standard deviation."""
    try:
        subject.read().checked(subject.choice.name)
    except DataError as error:
        require(False, str(error))


@KIT.check
def every_class_has_images(subject: DatasetSubject) -> None:
    """Check, for a class that nobody can learn, or that no test asks for, is none."""
    decoded = subject.read()
    for part, (_, labels) in (("training", decoded.train), ("test", decoded.test)):
        empty = [name for k, name in enumerate(decoded.classes) if not (labels == k).any()]
        require(not empty, f"classes {empty} have no {part} images: leave them out of classes, or mend the split")


@KIT.check
def pixels_use_their_range(subject: DatasetSubject) -> None:
    """Pixels are from 0 to 255: fractions of 1 become 0 and 1 when they are stored as uint8."""
    most = int(subject.read().train[0].max())
    require(most > 1, f"the brightest pixel is {most}, of 255: scale images before they become uint8")


@KIT.check
def mean_and_deviation_are_those_of_the_images(subject: DatasetSubject) -> None:
    """Of training images scaled to [0, 1], roughly, by channel; networks get standardised images."""
    decoded = subject.read()
    levels, images = np.arange(256) / 255, decoded.train[0]
    counts = np.stack([np.bincount(images[:, k].ravel(), minlength=256) for k in range(images.shape[1])])
    shares = counts / counts.sum(1, keepdims=True)
    mean = shares @ levels
    std = np.sqrt(shares @ levels**2 - mean**2)
    near = np.abs(np.asarray(decoded.mean) - mean) < 0.1
    alike = np.maximum(decoded.std, std) < 1.5 * np.minimum(decoded.std, std) + 1e-3
    require(
        bool(near.all() and alike.all()),
        f"it states mean {decoded.mean} and std {decoded.std}, and its images scaled to [0, 1] have "
        f"{np.round(mean, 4).tolist()} and {np.round(std, 4).tolist()}: state those",
    )


@KIT.check
def reading_twice_gives_the_same(subject: DatasetSubject) -> None:
    """Every process decodes for itself, and partitions deal rows by their place."""
    found: list[list[npt.NDArray[Any]]] = []
    for _ in range(2):
        with seeding.own_globals(0, "check"):
            decoded = subject.read()
        found.append([*decoded.train, *decoded.test, *decoded.attributes.values()])
    one, other = found
    same = len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    require(same, "read twice, images, labels or attributes differ: sort files by name, and split without chance")


@KIT.check
def global_generators_are_left_alone(subject: DatasetSubject) -> None:
    """Check, for what they give depends on who came before, in this process."""
    with without_global_draws("use a generator with a fixed seed"):
        subject.read()


@KIT.check
def files_are_listed(subject: DatasetSubject) -> None:
    """Check, for a decoded copy is kept as long as these files do not change."""
    files = subject.make().files(subject.root)
    missing = [str(path) for path in files or () if not path.exists()]
    require(not missing, f"files() lists {missing[:3]}, which do not exist: list what read() opens, or return None")


@KIT.check
def a_missing_root_is_a_sentence(subject: DatasetSubject) -> None:
    """Who has not said where the data are reads what to do."""
    try:
        source = subject.make()
        source.files(None)
        source.read(None, download=False)
    except DataError:
        return
    except Exception as error:
        require(
            False,
            f"without a data root it ends in {type(error).__name__}: {error}; call semfed.data.source.required_root()",
        )
