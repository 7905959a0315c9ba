"""Few classes, few images."""

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from semfed.data.partitions.base import Partition, Rows, shuffled_by_class
from semfed.errors import DataError
from semfed.scenario.settings import StrictModel


class WaysShots(Partition):
    """Give every client `q` images of each of `m` classes chosen at random (m-way q-shot)."""

    class Settings(StrictModel):
        """Classes and images."""

        m: int = Field(ge=1, title="classes per client")
        """Classes of a client (ways)."""
        q: int | None = Field(default=None, ge=1, title="images per class")
        """Images of each of them (shots)."""
        per_client: int | None = Field(default=None, ge=1)
        """Images of a client instead of `q`, to vary `m` at a constant amount; what `m` leaves over is not used."""

        @property
        def shots(self) -> int:
            """Images of every class that a client has."""
            return self.q if self.q is not None else (self.per_client or 0) // self.m

        @model_validator(mode="after")
        def _one_amount(self) -> Self:
            if (self.q is None) == (self.per_client is None):
                raise ValueError("give either q, images a class, or per_client, images a client")
            if self.shots < 1:
                raise ValueError(f"per_client = {self.per_client} leaves no image a class at m = {self.m}: raise it")
            return self

    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        """Let one client after the other choose its classes and take images from their fronts."""
        ways, shots = self.settings.m, self.settings.shots
        if ways > len(classes):
            raise DataError(f"data.partition.m = {ways}, but the data set has {len(classes)} classes: lower m")
        pools = shuffled_by_class(labels, len(classes), generator)
        dealt = [0] * len(classes)
        parts = []
        for _ in range(clients):
            chosen = sorted(generator.choice(len(classes), size=ways, replace=False).tolist())
            for label in chosen:
                if dealt[label] + shots > len(pools[label]):
                    raise DataError(
                        f"data.partition: class {classes[label]!r} has {len(pools[label])} images, too few for all the "
                        f"clients that drew it at q = {shots}: lower q or the number of clients"
                    )
            parts.append(np.concatenate([pools[label][dealt[label] : dealt[label] + shots] for label in chosen]))
            for label in chosen:
                dealt[label] += shots
        return parts
