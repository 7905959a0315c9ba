"""Sizes that grow exponentially from client to client."""

import numpy as np

from semfed.data.partitions.base import Partition, Rows
from semfed.errors import DataError
from semfed.scenario.settings import StrictModel


class Exponential(Partition):
    """Give client k, from 1 on, a share of the images in proportion to e^k; what rounding leaves is the last one's.

    Rows are those of flwr-datasets' ``ExponentialPartitioner``: blocks in the order in which the images are stored.
    """

    class Settings(StrictModel):
        """The order."""

        shuffle: bool = False
        """Deal the images in a random order of the trial's; without it, a source that stores class by class gives every
        client few classes."""

    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        """Cut the rows into blocks."""
        with np.errstate(over="ignore", invalid="ignore"):  # of more than 700 clients, who are refused below
            units = np.exp(np.linspace(1, clients, clients))
            sizes = (units / units.sum() * len(labels)).astype(np.int64)
        if sizes.min() < 1:
            raise DataError(
                f"data.partition: sizes that grow by e = 2.718 leave the first of {clients} clients none of "
                f"{len(labels)} images: use fewer clients"
            )
        sizes[-1] += len(labels) - sizes.sum()
        rows = generator.permutation(len(labels)) if self.settings.shuffle else np.arange(len(labels))
        return np.split(rows, np.cumsum(sizes)[:-1])
