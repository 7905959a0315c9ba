"""flwr-datasets' partitioners as partitions: the same rows for the same arguments."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from inspect import signature
from typing import Any, ClassVar

import numpy as np

from semfed.data.partitions.base import AttributePartition, Rows, attribute, seeded
from semfed.data.source import Attributes
from semfed.errors import DataError
from semfed.scenario import Scenario
from semfed.scenario.foreign import ForeignSettings, adapted, construct, keywords, name_of, reason

LIBRARY = "flwr_datasets"
LABEL, ROW = "label", "row"
"""Columns of the table that a partitioner gets, beside the attributes."""


class ForeignPartitionSettings(ForeignSettings):
    """What is decided here of a partitioner's arguments."""

    filled: ClassVar[frozenset[str]] = frozenset({"num_partitions", "partition_by", "seed"})
    seed: int | None = None
    """The partitioner's own; unset, it is drawn from the stream of the trial's partition."""
    partition_by: str = LABEL
    """The column to deal by: ``label``, the class, or an attribute that the data set has."""

    def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        part = scenario.data.partition.load().part
        for name in ForeignPartitionSettings.model_fields:
            if name not in signature(part).parameters:
                yield f"{here}.{name}", f"{name_of(part)} has no such argument"


class ForeignPartition(AttributePartition):
    """A partitioner of the table of labels and attributes: as many partitions as there are clients."""

    Settings = ForeignPartitionSettings
    settings: ForeignPartitionSettings
    part: ClassVar[Callable[..., Any]]

    def deal_by(
        self,
        attributes: Attributes,
        labels: Rows,
        classes: tuple[str, ...],
        clients: int,
        generator: np.random.Generator,
    ) -> Sequence[Rows]:
        """Let the partitioner deal; see `AttributePartition.deal_by`.

        Raises
        ------
        ScenarioError
            If it refuses its arguments.
        DataError
            If there is no such column, it cannot deal, or makes another number of partitions.
        """
        from datasets import Dataset  # what flwr-datasets itself works on: it takes a second to import

        columns, by = {**attributes, LABEL: labels, ROW: np.arange(len(labels))}, self.settings.partition_by
        for name in {LABEL, ROW} & attributes.keys():
            raise DataError(f"{name_of(self.part)} cannot tell an attribute {name!r} from ours: call it otherwise")
        taken = signature(self.part).parameters.keys()
        if "partition_by" in taken and by != LABEL:
            attribute(attributes, by, "data.partition.partition_by")
        known = {"num_partitions": clients, "partition_by": by, "seed": seeded(self.settings.seed, generator)}
        own = keywords(self.settings, ForeignPartitionSettings)
        partitioner = construct(self.part, own | {name: known[name] for name in known if name in taken}, object)
        partitioner.dataset = Dataset.from_dict(columns)  # type: ignore[attr-defined]
        try:
            count = partitioner.num_partitions  # type: ignore[attr-defined]
            if count == clients:
                return [
                    np.asarray(partitioner.load_partition(k)[ROW], dtype=np.int64)  # type: ignore[attr-defined]
                    for k in range(clients)
                ]
        except Exception as error:
            raise DataError(f"data.partition: {name_of(self.part)} cannot deal ({reason(error)}): change it") from error
        raise DataError(
            f"data.partition: {name_of(self.part)} makes {count} partitions for {clients} clients: change its "
            "arguments, or the number of clients"
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
