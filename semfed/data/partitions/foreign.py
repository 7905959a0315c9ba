"""flwr-datasets' partitioners as partitions: the same rows for the same arguments."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from inspect import signature
from typing import Any, ClassVar

import numpy as np

from semfed.data.partitions.base import Partition, Rows, seeded
from semfed.errors import DataError
from semfed.scenario.foreign import ForeignSettings, adapted, construct, keywords, name_of, reason

LIBRARY = "flwr_datasets"


class ForeignPartitionSettings(ForeignSettings):
    """What is decided here of a partitioner's arguments."""

    filled: ClassVar[frozenset[str]] = frozenset({"num_partitions", "partition_by", "seed"})
    seed: int | None = None
    """The partitioner's own; unset, it is drawn from the stream of the trial's partition."""


class ForeignPartition(Partition):
    """A partitioner of the table of labels: as many partitions as there are clients, by label where it asks."""

    Settings = ForeignPartitionSettings
    settings: ForeignPartitionSettings
    part: ClassVar[Callable[..., Any]]

    def deal(
        self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator
    ) -> Sequence[Rows]:
        """Let the partitioner deal; see `Partition.deal`.

        Raises
        ------
        ScenarioError
            If it refuses its arguments.
        DataError
            If it cannot deal, or makes another number of partitions.
        """
        from datasets import Dataset  # what flwr-datasets itself works on: it takes a second to import

        known = {"num_partitions": clients, "partition_by": "label", "seed": seeded(self.settings.seed, generator)}
        own = keywords(self.settings, ForeignPartitionSettings)
        taken = signature(self.part).parameters.keys()
        partitioner = construct(self.part, own | {name: known[name] for name in known if name in taken}, object)
        partitioner.dataset = Dataset.from_dict({"label": labels, "row": np.arange(len(labels))})  # type: ignore[attr-defined]
        try:
            count = partitioner.num_partitions  # type: ignore[attr-defined]
            if count == clients:
                return [
                    np.asarray(partitioner.load_partition(k)["row"], dtype=np.int64)  # type: ignore[attr-defined]
                    for k in range(clients)
                ]
        except Exception as error:
            raise DataError(f"data.partition: {name_of(self.part)} cannot deal ({reason(error)}): change it") from error
        raise DataError(
            f"data.partition: {name_of(self.part)} makes {count} partitions for {clients} clients: change its arguments"
        )


def adapt(part: Any) -> Any:
    """Return a partition of a partitioner's class; anything else, such as a partition, as it is.

    Raises
    ------
    ScenarioError
        If it has an argument that no scenario can give.
    """
    bases = part.__mro__ if isinstance(part, type) else ()
    return _adapted(part) if any(base.__module__.split(".")[0] == LIBRARY for base in bases) else part


@lru_cache(maxsize=64)
def _adapted(part: Any) -> type[ForeignPartition]:
    return adapted(part, ForeignPartition, ForeignPartitionSettings)
