"""The same for everyone, up to chance."""

import numpy as np
from pydantic import Field

from semfed.data.partitions.base import Partition, Rows
from semfed.errors import DataError
from semfed.scenario.settings import StrictModel


class IID(Partition):
    """Split the training set evenly and at random, or take `per_client` images each."""

    class Settings(StrictModel):
        """The amount."""

        per_client: int | None = Field(default=None, ge=1)
        """Images of a client; all images are used up if unset."""

    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        """Cut one random order of all images into pieces."""
        samples, own = len(labels), self.settings.per_client
        order = generator.permutation(samples)
        if own is None:
            if clients > samples:
                raise DataError(f"data.partition: {clients} clients cannot share {samples} images: use fewer clients")
            return list(np.array_split(order, clients))
        if own * clients > samples:
            raise DataError(
                f"data.partition.per_client = {own} asks for {own * clients} images for {clients} clients, but there "
                f"are {samples} for training: lower it"
            )
        return list(order[: own * clients].reshape(clients, own))
