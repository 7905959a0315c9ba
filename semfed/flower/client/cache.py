"""What one process keeps between messages: data on the device, partitions, one network per architecture.

Clients are built anew for every message and borrow from here, so a process needs one model and one copy of the data
however many clients it serves.
"""

from collections.abc import Callable, Hashable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from semfed import seeding
from semfed.data.cache import open_dataset
from semfed.data.dataset import Dataset, standardise
from semfed.data.partitions import Rows, deal
from semfed.data.validation import held_out
from semfed.flower.trial import Trial
from semfed.training.isolation import isolated

T = TypeVar("T")


class ProcessCache:
    """Caches of one process. None of them changes a result: a fresh cache gives the same numbers."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}
        self._data_key = ""

    def __reduce__(self) -> tuple[Callable[[], "ProcessCache"], tuple[()]]:
        """Arrive as the cache of the other process, without its content.

        Flower's simulation sends its actors a copy of the whole client app with every message, which would otherwise
        have to prepare everything anew.
        """
        return _of_this_process, ()

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept under a key; `make` makes it the first time.

        Networks are kept like this, one per architecture: whoever borrows one loads all its weights first.
        """
        if key not in self._kept:
            with isolated():  # what is kept must not depend on who asks first
                self._kept[key] = make()
        kept: T = self._kept[key]
        return kept

    def dataset(self, trial: Trial, root: Path | None, device: torch.device) -> Dataset:
        """Return the trial's data set on a device.

        Raises
        ------
        DataError
            If its files are missing or damaged.
        """
        if self._data_key != trial.data_key:  # another data set: what belongs to the last one can go
            self._kept.clear()
            self._data_key = trial.data_key
        data = trial.scenario.data

        def opened() -> Dataset:
            return open_dataset(data.source.make(), data.source.name, root, download=data.download).to(device)

        return self.once(("dataset", root, device), opened)

    def rows(self, trial: Trial, root: Path | None, client: int) -> Rows:
        """Return which training images a client trains on: sorted row indices, int64.

        Raises
        ------
        DataError
            If the partition asks for more than there is, or a validation split leaves too little.
        """
        return self._split(trial, root, client)[0]

    def validation_rows(self, trial: Trial, root: Path | None, client: int) -> Rows:
        """Return which training images a client is validated on, none without a split; otherwise as `rows`."""
        return self._split(trial, root, client)[1]

    def _split(self, trial: Trial, root: Path | None, client: int) -> tuple[Rows, Rows]:
        """Return what a client trains on and what it is validated on."""
        dataset = self.dataset(trial, root, torch.device("cpu"))
        asked, labels = trial.scenario.data.validation, dataset.train.labels.numpy()

        def dealt() -> list[Rows]:
            generator = seeding.numpy_generator(trial.seed, "partition")
            rule, clients = trial.scenario.data.partition, len(trial.scenario.clients)
            return deal(rule, labels, dataset.classes, clients, generator, attributes=dataset.attributes)

        rows = self.once(("partition", root, trial.seed), dealt)[client]
        if asked is None:
            return rows, rows[:0]

        def divided() -> tuple[Rows, Rows]:
            generator = seeding.numpy_generator(trial.seed, "validation", client)
            return held_out(rows, labels[rows], asked, generator, client=trial.scenario.clients[client].name)

        return self.once(("split", root, trial.seed, client), divided)

    def images(self, trial: Trial, root: Path | None, device: torch.device, rows: Tensor | None = None) -> Tensor:
        """Return standardised images, shape (samples, channels, height, width), float32.

        Parameters
        ----------
        rows : Tensor of int64, optional
            Training images to take; the whole test set if left out, which is kept for the next evaluation.
        """
        dataset = self.dataset(trial, root, device)
        data = trial.scenario.data
        mean, std = data.mean or dataset.mean, data.std or dataset.std
        if rows is not None:
            return standardise(dataset.train.images.index_select(0, rows), mean, std)
        return self.once(("test", root, device), lambda: standardise(dataset.test.images, mean, std))


@cache
def _of_this_process() -> ProcessCache:
    """Return the one cache that all arriving client apps share."""
    return ProcessCache()
