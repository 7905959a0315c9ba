"""What a partition plugin is, and how it is asked."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from semfed.data.source import Attributes
from semfed.errors import DataError
from semfed.scenario.plugins import Plugin
from semfed.scenario.settings import StrictModel

Rows = npt.NDArray[np.int64]


class Partition(ABC):
    """A rule that deals training images to clients: the scenario's ``[data.partition]``.

    A plugin is a subclass, found in the entry point group ``semfed.partitions``; ``Settings`` declares its options.

    Parameters
    ----------
    settings : StrictModel
    """

    Settings: type[StrictModel] = StrictModel

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @abstractmethod
    def deal(
        self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator
    ) -> Sequence[Rows]:
        """Distribute training images among clients.

        Parameters
        ----------
        labels : ndarray, shape (samples,), int64
            Class of every training image.
        classes : tuple of str
            Names of the classes.
        clients : int
            Number of clients, 1 or more.
        generator : numpy.random.Generator
            Source of all randomness.

        Returns
        -------
        sequence of ndarray of integers
            Row indices of every client, in any order; no row occurs twice.

        Raises
        ------
        DataError
            If the rule asks for more images than exist.
        """


class AttributePartition(Partition):
    """A rule that deals by what images carry beside their classes, such as their writer: it says `deal_by`."""

    def deal(
        self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator
    ) -> Sequence[Rows]:
        """Distribute images without attributes; see `Partition.deal`."""
        return self.deal_by({}, labels, classes, clients, generator)

    @abstractmethod
    def deal_by(
        self,
        attributes: Attributes,
        labels: Rows,
        classes: tuple[str, ...],
        clients: int,
        generator: np.random.Generator,
    ) -> Sequence[Rows]:
        """Distribute training images among clients.

        Parameters
        ----------
        attributes : mapping of str to ndarray, shape (samples,), of str or integers
            Of every training image, by their names.
        labels, classes, clients, generator
            As `Partition.deal` has them.

        Returns
        -------
        sequence of ndarray of integers
            As of `Partition.deal`.

        Raises
        ------
        DataError
            If the rule needs an attribute that there is not, or asks for more images than exist.
        """


def attribute(attributes: Attributes, name: str, setting: str) -> npt.NDArray[Any]:
    """Return an attribute of the training images.

    Parameters
    ----------
    attributes : mapping of str to ndarray
    name : str
    setting : str
        That names it, for the message.

    Raises
    ------
    DataError
        If there is none of that name, with those that there are.
    """
    if name in attributes:
        return attributes[name]
    if attributes:
        raise DataError(f"{setting} = {name!r}: the data set has the attributes {sorted(attributes)}; name one of them")
    raise DataError(
        f"{setting} = {name!r}: the data set has no attributes; they are arrays attribute_NAME of an .npz file, or "
        "columns that data.source.attributes names of a data set of source 'huggingface'"
    )


def deal_unchecked(
    choice: Plugin,
    attributes: Attributes,
    labels: Rows,
    classes: tuple[str, ...],
    clients: int,
    generator: np.random.Generator,
) -> Sequence[Rows]:
    """Return what a chosen partition deals, as it is; parameters are those of `AttributePartition.deal_by`."""
    rule: Partition = choice.make()
    if isinstance(rule, AttributePartition):
        return rule.deal_by(attributes, labels, classes, clients, generator)
    return rule.deal(labels, classes, clients, generator)


def deal(
    choice: Plugin,
    labels: Rows,
    classes: tuple[str, ...],
    clients: int,
    generator: np.random.Generator,
    *,
    attributes: Attributes | None = None,
) -> list[Rows]:
    """Let a chosen partition deal, and see that it has; a plugin may return anything.

    Parameters are those of `AttributePartition.deal_by`.

    Returns
    -------
    list of ndarray of int64
        Row indices of every client, sorted; no row occurs twice.

    Raises
    ------
    DataError
        If the rule asks for more images than exist, or does not deal rows of the training set.
    """
    dealt = deal_unchecked(choice, attributes or {}, labels, classes, clients, generator)
    parts = [np.asarray(rows) for rows in dealt]

    def require(holds: bool, problem: str) -> None:
        if not holds:
            raise DataError(f"partition {choice.name!r} gives {problem}: mend the partition")

    require(len(parts) == clients, f"rows to {len(parts)} clients instead of {clients}")
    for rows in parts:
        require(
            rows.ndim == 1 and rows.dtype.kind in "iu", f"{rows.dtype} of shape {rows.shape} instead of row indices"
        )
        for row in rows[(rows < 0) | (rows >= len(labels))]:
            require(False, f"row {row}, with {len(labels)} images for training")
    taken = np.concatenate(parts)
    require(len(np.unique(taken)) == len(taken), "one image twice")
    return [np.sort(rows).astype(np.int64) for rows in parts]


def seeded(seed: int | None, generator: np.random.Generator) -> int:
    """Return a rule's own seed; unset, it follows from the trial's stream, so that every trial has a split of its own.

    flwr-datasets' partitioners get theirs likewise, so that they deal as the rules here that do the same.
    """
    return int(generator.integers(2**31)) if seed is None else seed


def shuffled_by_class(labels: Rows, classes: int, generator: np.random.Generator) -> list[Rows]:
    """Return the rows of every class in random order, to be dealt from the front."""
    return [generator.permutation(np.flatnonzero(labels == label)) for label in range(classes)]
