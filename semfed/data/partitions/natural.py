"""By what images carry: one value of an attribute a client."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import StrictInt, field_validator

from semfed.data.partitions.base import AttributePartition, Rows, attribute
from semfed.data.source import Attributes
from semfed.errors import DataError
from semfed.scenario import Scenario
from semfed.scenario.settings import StrictModel

Choice = Literal["all", "first", "random"]
Values = tuple[str | StrictInt, ...]
NAMED = 5
"""Values that a message names, of perhaps thousands."""


class Natural(AttributePartition):
    """Give client k all images of the k-th value of an attribute, such as their writer; values are sorted.

    Rows are those of flwr-datasets' ``NaturalIdPartitioner``.
    """

    class Settings(StrictModel):
        """The attribute, and which of its values."""

        by: str
        """The attribute: an array ``attribute_<by>`` of an ``.npz`` file, or a column that ``data.source.attributes``
        names."""
        values: Choice | Values = "all"
        """Whose images are dealt: of ``all`` values, of which there must be as many as clients; of as many as there are
        clients, the ``first`` ones or ones drawn at ``random`` by the trial's seed, sorted; or a list, one a client."""

        @field_validator("values")
        @classmethod
        def _differ(cls, values: Choice | Values) -> Choice | Values:
            """Refuse a list that names a value twice: clients share no images."""
            counts = Counter(map(str, values)) if not isinstance(values, str) else {}
            for value, count in counts.items():
                if count > 1:
                    raise ValueError(f"{value!r} is named twice: no two clients share images; name another value")
            return values

        def check(self, scenario: Scenario) -> None:
            """Refuse a list of more or fewer values than there are clients."""
            if not isinstance(self.values, str) and len(self.values) != len(scenario.clients):
                raise ValueError(
                    f"data.partition.values has {len(self.values)} values for {len(scenario.clients)} clients; give "
                    "one a client"
                )

    def deal_by(
        self,
        attributes: Attributes,
        labels: Rows,
        classes: tuple[str, ...],
        clients: int,
        generator: np.random.Generator,
    ) -> list[Rows]:
        """Sort the rows by value, in their order where it is the same, and cut them there."""
        own = attribute(attributes, self.settings.by, "data.partition.by")
        found, counts = np.unique(own, return_counts=True)
        rows = np.split(np.argsort(own, kind="stable"), np.cumsum(counts)[:-1])
        return [rows[place] for place in self._chosen(found, clients, generator)]

    def _chosen(self, found: npt.NDArray[Any], clients: int, generator: np.random.Generator) -> Sequence[int]:
        """Return the places of the clients' values among all, which are sorted."""
        by, asked = self.settings.by, self.settings.values
        if not isinstance(asked, str):
            places = {str(value): place for place, value in enumerate(found)}
            for value in asked:
                if str(value) not in places:
                    known = ", ".join(map(repr, list(places)[:NAMED])) + (", ..." if len(places) > NAMED else "")
                    raise DataError(
                        f"data.partition.values: no training image has {value!r} as its {by!r}; the {len(places)} "
                        f"values are {known}"
                    )
            return [places[str(value)] for value in asked]
        count = len(found)
        if count < clients or (count > clients and asked == "all"):
            fewer = ", or set data.partition.values to 'first', 'random' or a list" if count > clients else " or fewer"
            raise DataError(
                f"data.partition.by = {by!r} has {count} values among the training images, for {clients} clients: use "
                f"{count} clients{fewer}"
            )
        if asked == "random":
            return sorted(generator.choice(count, size=clients, replace=False).tolist())
        return range(clients)
