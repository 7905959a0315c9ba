"""For every check of partitions and of data sets, a part that fails it and no other."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import field_validator

from semfed.data.partitions import Partition, Rows
from semfed.data.source import Decoded, required_root
from semfed.errors import DataError, ScenarioError
from semfed.scenario.settings import StrictModel
from semfed.testing import check_dataset, check_partition, datasets, partitions

from .failing import assert_fails

CALLS = itertools.count()


class DoublingSettings(StrictModel):
    width: int = 1

    @field_validator("width")
    @classmethod
    def _double(cls, value: int) -> int:
        return 2 * value


class Shuffled(Partition):
    """As it should be."""

    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        if len(labels) < clients:
            raise DataError("too few")
        order = generator.permutation(len(labels))
        return [order[k::clients] for k in range(clients)]


class Doubling(Shuffled):
    Settings = DoublingSettings


class Twice(Shuffled):
    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        parts = super().deal(labels, classes, clients, generator)
        return [parts[0], *parts[:-1]]


class Greedy(Shuffled):
    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        super().deal(labels, classes, clients, generator)
        return [np.arange(len(labels)), *(np.arange(0) for _ in range(clients - 1))]


class Drifting(Shuffled):
    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        parts = super().deal(labels, classes, clients, generator)
        return list(np.roll(np.array(parts), next(CALLS), axis=0))


class Global(Shuffled):
    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        np.random.rand()  # noqa: NPY002
        return super().deal(labels, classes, clients, generator)


class Sorting(Shuffled):
    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        labels.sort()
        return super().deal(labels, classes, clients, generator)


class Careless(Shuffled):
    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        return list(generator.choice(len(labels), size=(clients, 10), replace=False))


PARTITIONS: dict[str, Any] = {
    "settings_can_be_written_and_read": Doubling,
    "every_image_is_dealt_at_most_once": Twice,
    "every_client_gets_something": Greedy,
    "equal_seeds_deal_equally": Drifting,
    "only_its_generator_is_drawn_from": Global,
    "labels_are_not_changed": Sorting,
    "too_few_images_are_a_sentence": Careless,
}


def test_every_check_of_partitions_has_one_and_a_good_one_none() -> None:
    assert list(PARTITIONS) == list(partitions.KIT.functions)
    assert set(check_partition(Shuffled).values()) == {"passed"}
    with pytest.raises(ScenarioError, match="is none of the partitions"):
        check_partition(Stripes)


@pytest.mark.parametrize("name", PARTITIONS)
def test_a_partition_fails_that_check_alone(name: str) -> None:
    assert_fails(partitions.KIT, name, PARTITIONS[name])


class Stripes:
    """As it should be."""

    Settings: type[StrictModel] = StrictModel

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def files(self, root: Path | None) -> list[Path] | None:
        return None

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        labels = np.arange(60) % 10
        images = np.zeros((60, 1, 8, 10), np.uint8)
        images[np.arange(60), :, :, labels] = 255
        train, test = (images[:40], labels[:40]), (images[40:], labels[40:])
        return Decoded("stripes", tuple("abcdefghij"), train, test, mean=(0.1,), std=(0.3,))


class DoublingStripes(Stripes):
    Settings = DoublingSettings


class Fractions(Stripes):
    def read(self, root: Path | None, *, download: bool) -> Decoded:
        good = super().read(root, download=download)
        return replace(good, test=(good.test[0], good.test[1].astype(float)))


class Empty(Stripes):
    def read(self, root: Path | None, *, download: bool) -> Decoded:
        good = super().read(root, download=download)
        return replace(good, classes=(*good.classes, "none"))


class Dark(Stripes):
    def read(self, root: Path | None, *, download: bool) -> Decoded:
        good = super().read(root, download=download)
        train, test = ((images // 255, labels) for images, labels in (good.train, good.test))
        return replace(good, train=train, test=test, mean=(0.1 / 255,), std=(0.3 / 255,))


class Misstated(Stripes):
    def read(self, root: Path | None, *, download: bool) -> Decoded:
        return replace(super().read(root, download=download), mean=(0.1 * 255,), std=(0.3 * 255,))


class Unsorted(Stripes):
    def read(self, root: Path | None, *, download: bool) -> Decoded:
        good = super().read(root, download=download)
        order = np.random.default_rng().permutation(40)
        return replace(good, train=(good.train[0][order], good.train[1][order]))


class GlobalStripes(Stripes):
    def read(self, root: Path | None, *, download: bool) -> Decoded:
        np.random.rand()  # noqa: NPY002
        return super().read(root, download=download)


class Listing(Stripes):
    def files(self, root: Path | None) -> list[Path] | None:
        return [required_root(root, "stripes") / "nothing"]


class Rootless(Stripes):
    def read(self, root: Path | None, *, download: bool) -> Decoded:
        assert (root / "x").parent == root  # type: ignore[operator]
        return super().read(root, download=download)


DATASETS: dict[str, Any] = {
    "settings_can_be_written_and_read": DoublingStripes,
    "arrays_are_what_they_claim_to_be": Fractions,
    "every_class_has_images": Empty,
    "pixels_use_their_range": Dark,
    "mean_and_deviation_are_those_of_the_images": Misstated,
    "reading_twice_gives_the_same": Unsorted,
    "global_generators_are_left_alone": GlobalStripes,
    "files_are_listed": Listing,
    "a_missing_root_is_a_sentence": Rootless,
}


def test_every_check_of_data_sets_has_one_and_a_good_one_none(tmp_path: Path) -> None:
    assert list(DATASETS) == list(datasets.KIT.functions)
    assert set(check_dataset(Stripes, root=tmp_path).values()) == {"passed"}


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_fails_that_check_alone(name: str, tmp_path: Path) -> None:
    assert_fails(datasets.KIT, name, DATASETS[name], root=tmp_path)
