"""Checks of partitions: what clients and comparisons of arms rely on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from semfed import seeding
from semfed.data.partitions import Partition, Rows, deal
from semfed.data.partitions.base import deal_unchecked
from semfed.errors import DataError, ScenarioError
from semfed.scenario.plugins import Plugin
from semfed.testing.check import Subject, require, without_global_draws
from semfed.testing.kit import Kit, Part


@dataclass(frozen=True)
class PartitionSubject(Subject):
    """A partition with what it deals.

    Attributes
    ----------
    clients, samples, classes : int
    values : mapping of str to sequence
        The values of attributes, by the names of these.
    """

    clients: int
    samples: int
    classes: int
    values: Mapping[str, Sequence[str | int]]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(f"class {k}" for k in range(self.classes))

    def labels(self, samples: int | None = None) -> Rows:
        """Return labels in random order, all classes about equally often."""
        count = self.samples if samples is None else samples
        labels: Rows = np.random.default_rng(9).permutation(np.arange(count, dtype=np.int64) % self.classes)
        return labels

    def attributes(self, samples: int) -> dict[str, npt.NDArray[Any]]:
        """Return values in random order, all of an attribute about equally often."""
        generator = np.random.default_rng(8)
        return {name: generator.permutation(np.resize(list(own), samples)) for name, own in self.values.items()}

    def deal(self, labels: Rows, seed: int = 0) -> list[Rows]:
        """Let the partition deal, and nobody look at it."""
        attributes, generator = self.attributes(len(labels)), np.random.default_rng(seed)
        return list(deal_unchecked(self.choice, attributes, labels, self.names, self.clients, generator))


def _subject(
    choice: Plugin,
    clients: int = 4,
    samples: int = 1000,
    classes: int = 10,
    attributes: Mapping[str, Sequence[str | int]] | None = None,
) -> PartitionSubject:
    if not (isinstance(choice.load(), type) and issubclass(choice.load(), Partition)):
        raise ScenarioError(f"{choice.name!r} is no partition: derive it from semfed.data.partitions.Partition")
    return PartitionSubject(choice, clients, samples, classes, attributes or {})


KIT = Kit("partitions", _subject)


def check_partition(
    part: Part,
    *,
    clients: int = 4,
    samples: int = 1000,
    classes: int = 10,
    attributes: Mapping[str, Sequence[str | int]] | None = None,
) -> dict[str, str]:
    """Run all checks of a partition.

    Parameters
    ----------
    part : str, type or mapping
        Its name, the class, or a table with ``name`` and settings.
    clients, samples, classes : int
        What it is to deal to, how many images there are, and of how many classes, which are equally frequent.
    attributes : mapping of str to sequence of str or int, optional
        Which values the images have, equally often, of attributes by their names; for an `AttributePartition`.

    Returns
    -------
    dict of str to str
        By check, ``passed``, or why it does not apply.

    Raises
    ------
    CheckFailed
        With one line for every check that failed.
    """
    return KIT.run(part, clients=clients, samples=samples, classes=classes, attributes=attributes)


@KIT.check
def every_image_is_dealt_at_most_once(subject: PartitionSubject) -> None:
    """To as many clients as there are, as indices of rows that exist."""
    try:
        attributes, generator = subject.attributes(subject.samples), np.random.default_rng(0)
        deal(subject.choice, subject.labels(), subject.names, subject.clients, generator, attributes=attributes)
    except DataError as error:
        require(False, str(error))


@KIT.check
def every_client_gets_something(subject: PartitionSubject) -> None:
    """Check, for a client without an image cannot train."""
    sizes = [len(rows) for rows in subject.deal(subject.labels())]
    require(min(sizes, default=0) > 0, f"clients get {sizes} images: give everybody one, or raise a DataError")


@KIT.check
def equal_seeds_deal_equally(subject: PartitionSubject) -> None:
    """Server, clients and arms deal for themselves, and must come to the same."""
    found = []
    for _ in range(2):
        with seeding.own_globals(0, "check"):
            found.append(subject.deal(subject.labels()))
    require(
        all(np.array_equal(a, b) for a, b in zip(*found, strict=True)),
        "dealt twice with equal generators, clients get other rows: draw from the generator that is given",
    )


@KIT.check
def only_its_generator_is_drawn_from(subject: PartitionSubject) -> None:
    """Check, for the global generators belong to nobody, so that what they give depends on who came before."""
    with without_global_draws("draw from the generator that is given"):
        subject.deal(subject.labels())


@KIT.check
def labels_are_not_changed(subject: PartitionSubject) -> None:
    """They are the data set's own."""
    labels = subject.labels()
    subject.deal(labels)
    require(np.array_equal(labels, subject.labels()), "it writes into the labels: copy what you sort or shuffle")


@KIT.check
def too_few_images_are_a_sentence(subject: PartitionSubject) -> None:
    """Whatever is asked of it, a user reads a sentence and no traceback."""
    try:
        subject.deal(subject.labels(2))
    except DataError:
        return
    except Exception as error:
        require(
            False,
            f"two images for {subject.clients} clients end in {type(error).__name__}: {error}; raise "
            "semfed.errors.DataError with one sentence that names setting and remedy",
        )
