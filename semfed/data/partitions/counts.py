"""Exact numbers of images."""

from typing import Annotated

import numpy as np
from pydantic import Field

from semfed.data.partitions.base import Partition, Rows, shuffled_by_class
from semfed.errors import DataError
from semfed.scenario import Scenario
from semfed.scenario.settings import StrictModel


class Counts(Partition):
    """Give every client an exact number of training images of every class."""

    class Settings(StrictModel):
        """The numbers."""

        counts: tuple[tuple[Annotated[int, Field(ge=0)], ...], ...]
        """One row a client, one column a class; what a row leaves out at its end is 0."""

        def check(self, scenario: Scenario) -> None:
            """Refuse a table with more or fewer rows than there are clients."""
            if len(self.counts) != len(scenario.clients):
                raise ValueError(
                    f"data.partition.counts has {len(self.counts)} rows for {len(scenario.clients)} clients; "
                    "give one row a client"
                )

    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        """Take images of every class from the front, one client after the other."""
        counts = self.settings.counts
        rows = [[*row, *[0] * (len(classes) - len(row))] for row in counts]
        widest = max(map(len, rows))
        if widest != len(classes):
            raise DataError(
                f"data.partition.counts has rows of {widest} counts, but the data set has {len(classes)} classes"
            )
        pools = shuffled_by_class(labels, len(classes), generator)
        for name, pool, *asked in zip(classes, pools, *rows, strict=True):
            wanted = sum(asked)  # of Python's integers, which do not overflow
            if wanted > len(pool):
                raise DataError(
                    f"data.partition.counts asks for {wanted} images of class {name!r}, but there are {len(pool)} for "
                    "training: lower the counts"
                )
        table = np.array(rows, dtype=np.int64)
        ends = np.cumsum(table, axis=0)
        return [
            np.concatenate([pool[end - size : end] for pool, end, size in zip(pools, ends[k], table[k], strict=True)])
            for k in range(clients)
        ]
