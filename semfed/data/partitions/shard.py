"""Shards of neighbouring classes."""

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from semfed.data.partitions.base import Partition, Rows, seeded
from semfed.errors import DataError
from semfed.scenario import Scenario
from semfed.scenario.settings import StrictModel


class Shard(Partition):
    """Sort the images by class, cut them into shards of one size, and deal every client some at random.

    Two shards a client is the non-IID split of "Communication-Efficient Learning of Deep Networks from Decentralized
    Data" (McMahan et al. 2017, arXiv 1602.05629): most clients have two classes. Rows are those of flwr-datasets'
    ``ShardPartitioner``.
    """

    class Settings(StrictModel):
        """How many shards, and how large; the names are flwr-datasets'."""

        num_shards_per_partition: int | None = Field(default=None, ge=1)
        """Shards of a client; unset, two, or with ``shard_size`` as many as there are, the first clients one more."""
        shard_size: int | None = Field(default=None, ge=1)
        """Images of a shard; unset, as many as make all shards equal."""
        keep_incomplete_shard: bool = False
        """Whether the last images, too few for a whole shard, make one, too; else nobody has them."""
        seed: int | None = Field(default=None, ge=0)
        """Decides who has which shard; unset, it follows from the trial's seed."""

        @property
        def each(self) -> int | None:
            """Shards of a client, None for as many as there are."""
            default = 2 if self.shard_size is None else None
            return default if self.num_shards_per_partition is None else self.num_shards_per_partition

        def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
            """Tell what has no effect; see `semfed.scenario.effects`."""
            if self.shard_size is not None and self.num_shards_per_partition is not None:
                yield f"{here}.keep_incomplete_shard", "shard_size and num_shards_per_partition say how many are dealt"

    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        """Deal shards of the rows in the order of their classes, and of their places within a class."""
        size, usable, counts = self._sizes(len(labels), clients)
        order = np.argsort(labels, kind="stable")
        drawn = np.random.default_rng(seeded(self.settings.seed, generator)).permutation(usable)[: sum(counts)]
        ends = np.cumsum(counts)
        return [
            np.concatenate([order[shard * size : (shard + 1) * size] for shard in drawn[end - count : end]])
            for end, count in zip(ends, counts, strict=True)
        ]

    def _sizes(self, images: int, clients: int) -> tuple[int, int, list[int]]:
        """Return the size of a shard, how many there are, and how many every client gets."""
        each, size, incomplete = self.settings.each, self.settings.shard_size, self.settings.keep_incomplete_shard
        if each is not None:
            asked = each * clients * (size or 1)
            if asked > images:
                raise DataError(
                    f"data.partition: {each} shards of {size or 1} or more images for {clients} clients ask for "
                    f"{asked} images, but there are {images} for training: lower num_shards_per_partition or shard_size"
                )
            exact = size is not None or not incomplete
            size = size or images // (each * clients)
            return size, images // size if exact else -(-images // size), [each] * clients
        assert size is not None
        usable = -(-images // size) if incomplete else images // size
        if usable < clients:
            raise DataError(
                f"data.partition.shard_size = {size} makes {usable} shards of {images} images for {clients} clients: "
                "lower it"
            )
        return size, usable, [usable // clients + (client < usable % clients) for client in range(clients)]
