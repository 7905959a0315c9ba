"""Data sets of the Hugging Face hub that are on disk already, as ``datasets.save_to_disk`` has left them."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from semfed.data.files import files_below
from semfed.data.partitions import AttributePartition
from semfed.data.samples import (
    PixelSettings,
    SplitSettings,
    cut,
    decode_samples,
    decoded,
    require_no_split,
    split_by_class,
)
from semfed.data.source import Decoded, Split, required_root
from semfed.errors import DataError
from semfed.scenario import Scenario
from semfed.scenario.foreign import reason
from semfed.scenario.offline import WouldFetch, offline


class HuggingFace:
    """A data set of the Hugging Face hub in ``<root>/<folder>``, where ``save_to_disk`` has put it.

    Nothing is fetched: on a machine with a connection, ``datasets.load_dataset(NAME).save_to_disk(FOLDER)`` does that.
    Needs ``pip install 'semfed[hub]'``.
    """

    class Settings(PixelSettings, SplitSettings):
        """Which data set, which of its columns and parts, and what becomes of images."""

        folder: str
        """Below the data root."""
        image: str = ""
        """Column of the images; empty for the only one that has any."""
        label: str = ""
        """Column of the classes; empty for the only one of class labels, or for ``label``."""
        train_split: str = Field(default="train", min_length=1)
        """The part to train on, where there are several."""
        test_split: str = Field(default="test", min_length=1)
        """The part to test on, where there are several; a data set without parts is split by ``test_fraction``."""
        attributes: tuple[str, ...] = ()
        """Columns of texts or integers (of class labels, their numbers), by which the partition may deal."""

        def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
            """Tell what has no effect; see `semfed.scenario.effects`."""
            if not issubclass(scenario.data.partition.load(), AttributePartition):
                yield f"{here}.attributes", f"partition {scenario.data.partition.name!r} deals by none"

    downloads = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def _folder(self, root: Path | None) -> Path:
        return required_root(root, "huggingface") / self.settings.folder

    def files(self, root: Path | None) -> list[Path]:
        """Return all files of the folder."""
        return files_below(self._folder(root))

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        """Decode everything; mean and standard deviation are those of the training images."""
        folder = self._folder(root)
        held = _loaded(folder)
        name = f"'{folder}'"
        if isinstance(held, Mapping):
            require_no_split(self.settings, name)
            tables = [self._part(held, key, folder) for key in ("train_split", "test_split")]
        else:
            tables = [held]
        columns = self._columns(tables[0].features, name)
        parts, classes = self._decoded(tables, columns, folder.name)
        attributes = {column: _marks(tables[0], column, name) for column in self.settings.attributes}
        if len(parts) == 2:
            train, test = parts
        else:
            held_out = split_by_class(parts[0][1], self.settings, name)
            train, test = cut(parts[0], held_out)
            attributes = {column: marks[~held_out] for column, marks in attributes.items()}
        return replace(decoded(folder.name or "images", classes, train, test), attributes=attributes)

    def _part(self, held: Mapping[str, Any], key: str, folder: Path) -> Any:
        asked = getattr(self.settings, key)
        if asked not in held:
            raise DataError(
                f"data.source.{key} = {asked!r}: '{folder}' has the parts {sorted(held)}; name one of them, or save "
                "one part alone, which is then split by test_fraction"
            )
        return held[asked]

    def _columns(self, features: Mapping[str, Any], name: str) -> tuple[str, str]:
        """Return the columns of images and of classes."""
        kinds = {column: type(feature).__name__ for column, feature in features.items()}
        chosen = []
        for key, kind, usual in (("image", "Image", "image"), ("label", "ClassLabel", "label")):
            asked = getattr(self.settings, key)
            fitting = [column for column in kinds if kinds[column] == kind] or [
                column for column in kinds if column == usual
            ]
            if asked and asked not in kinds:
                raise DataError(
                    f"data.source.{key} = {asked!r}: {name} has the columns {sorted(kinds)}; name one of them"
                )
            if not asked and len(fitting) != 1:
                raise DataError(
                    f"{name} has the columns {sorted(kinds)}, of which {len(fitting) or 'none'} may be the {key}: name "
                    f"it in data.source.{key}"
                )
            chosen.append(asked or fitting[0])
        return chosen[0], chosen[1]

    def _decoded(self, tables: list[Any], columns: tuple[str, str], name: str) -> tuple[list[Split], tuple[str, ...]]:
        """Decode the parts; texts for classes become their places in the sorted list of all of them."""
        image, label = columns
        told = [getattr(table.features[label], "names", None) for table in tables]
        if any(names != told[0] for names in told):
            raise DataError(f"{name}: its parts have different classes in column {label!r}: bring them to one list")
        texts = sorted({value for table in tables for value in table[label] if isinstance(value, str)})
        places = {text: place for place, text in enumerate(texts)}
        parts = []
        for table in tables:
            rows = _Rows(table.select_columns([image, label]), image, label, places)
            parts.append(decode_samples(rows, self.settings.reading, name))
        count = 1 + max(int(labels.max()) for _, labels in parts)
        return parts, tuple(told[0] or texts or map(str, range(count)))


def _marks(table: Any, column: str, name: str) -> npt.NDArray[Any]:
    """Return a column of texts or integers."""
    features = table.features
    if column not in features:
        raise DataError(
            f"data.source.attributes: {name} has the columns {sorted(features)}, but no {column!r}; name one of them"
        )
    kind = str(getattr(features[column], "dtype", ""))
    marks = np.asarray(list(table[column])) if kind.endswith("string") or "int" in kind else None
    if marks is None or marks.dtype.kind not in "iuU" or marks.ndim > 1:
        raise DataError(
            f"data.source.attributes: column {column!r} of {name} has no text, or no integer, in every row; name "
            "another, or fill it"
        )
    return marks


class _Rows:
    """A table's rows as pairs of an image and its class."""

    def __init__(self, table: Any, image: str, label: str, places: Mapping[str, int]) -> None:
        self._table, self._image, self._label, self._places = table, image, label, places

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        row = self._table[index]
        image, label = row[self._image], row[self._label]
        if isinstance(image, list):  # what a column of arrays is read as
            image = np.asarray(image)
            eight_bits = image.dtype.kind in "iu" and image.min(initial=0) >= 0 and image.max(initial=0) <= 255
            image = image.astype(np.uint8) if eight_bits else image
        return image, self._places[label] if isinstance(label, str) else label


def _loaded(folder: Path) -> Any:
    if not os.path.isdir(folder):
        raise DataError(
            f"folder '{folder}' does not exist: set data.source.folder or the data root, or put the data set there "
            "with datasets.load_dataset(NAME).save_to_disk(FOLDER) where there is a connection"
        )
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"data source 'huggingface' needs the package datasets: pip install 'semfed[hub]' ({error})"
        ) from error
    try:
        with offline():
            return datasets.load_from_disk(str(folder))
    except WouldFetch as wanted:
        raise DataError(
            f"'{folder}' would fetch {wanted}: save all of it to disk where there is a connection"
        ) from None
    except Exception as error:
        raise DataError(
            f"'{folder}' cannot be read as a data set ({reason(error)}): put there what datasets' save_to_disk writes"
        ) from error
