"""What a partition plugin is, and how it is asked."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from semfed.errors import DataError, SemfedError
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


def deal(
    choice: Plugin, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator
) -> list[Rows]:
    """Let a chosen partition deal, and see that it has; a plugin may return anything.

    Parameters are those of `Partition.deal`.

    Returns
    -------
    list of ndarray of int64
        Row indices of every client, sorted; no row occurs twice.

    Raises
    ------
    DataError
        If the rule asks for more images than exist, or does not deal rows of the training set.
    """
    rule: Partition = choice.make()
    try:
        parts = [np.asarray(rows) for rows in rule.deal(labels, classes, clients, generator)]
    except SemfedError:
        raise
    except Exception as error:  # of somebody's rule
        raise DataError(
            f"partition {choice.name!r} raises {type(error).__name__}: {error}: change its settings, or mend it"
        ) from error

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
