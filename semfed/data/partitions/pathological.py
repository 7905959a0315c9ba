"""A few classes a client."""

from typing import Literal

import numpy as np
from pydantic import Field

from semfed.data.partitions.base import Partition, Rows, seeded
from semfed.errors import DataError
from semfed.scenario.settings import StrictModel


class Pathological(Partition):
    """Give every client the same number of classes, and share each class evenly among those who have it.

    "Federated Learning on Non-IID Data Silos: An Experimental Study" (arXiv 2102.02079) calls this #C = k; its authors
    assign classes ``first-deterministic``. McMahan et al. (arXiv 1602.05629), whose split is often meant by the name,
    deal two shards a client: partition ``shard``. Rows are those of flwr-datasets' ``PathologicalPartitioner``.
    """

    class Settings(StrictModel):
        """How many classes, and which; the names are flwr-datasets'."""

        num_classes_per_partition: int = Field(ge=1)
        """Classes of a client."""
        class_assignment_mode: Literal["random", "first-deterministic", "deterministic"] = "random"
        """``random`` draws a client's classes; with ``first-deterministic`` client k has class k modulo their number
        and draws the others; with ``deterministic`` it has that one and those that follow it."""
        seed: int | None = Field(default=None, ge=0)
        """Decides what is drawn; unset, it follows from the trial's seed."""

    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        """Assign classes, then cut the rows of each, in their order, into as many pieces as it has clients.

        A class that no client has is not used.
        """
        found, own = np.unique(labels), np.random.default_rng(seeded(self.settings.seed, generator))
        held = self._assigned(found, clients, own)
        parts: list[list[Rows]] = [[] for _ in range(clients)]
        for label in found:
            owners = [client for client in range(clients) if label in held[client]]
            rows = np.flatnonzero(labels == label)
            if len(owners) > len(rows):
                raise DataError(
                    f"data.partition: {len(owners)} clients have class {classes[label]!r}, of which there are "
                    f"{len(rows)} images: lower num_classes_per_partition or the number of clients"
                )
            for owner, piece in zip(owners, np.array_split(rows, max(1, len(owners))), strict=False):
                parts[owner].append(piece)
        return [np.concatenate(pieces) for pieces in parts]

    def _assigned(self, found: Rows, clients: int, generator: np.random.Generator) -> list[list[int]]:
        """Return the classes of every client."""
        count, mode = self.settings.num_classes_per_partition, self.settings.class_assignment_mode
        if count > len(found):
            raise DataError(
                f"data.partition.num_classes_per_partition = {count}, but the training images have {len(found)} "
                "classes: lower it"
            )
        if mode == "random":
            return [generator.choice(found, size=count, replace=False).tolist() for _ in range(clients)]
        if mode == "deterministic":
            return [[int(found[(k + i) % len(found)]) for i in range(count)] for k in range(clients)]
        held = []
        for k in range(clients):
            own = [int(found[k % len(found)])]
            while len(own) < count:
                drawn = int(generator.choice(found, size=1)[0])
                own += [] if drawn in own else [drawn]
            held.append(own)
        return held
