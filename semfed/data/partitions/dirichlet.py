"""Skewed labels."""

import numpy as np
from pydantic import Field

from semfed.data.partitions.base import Partition, Rows, shuffled_by_class
from semfed.errors import DataError
from semfed.scenario.settings import StrictModel

ATTEMPTS = 1000


class Dirichlet(Partition):
    """Split every class among the clients in Dirichlet(alpha) proportions; small alpha, strong skew."""

    class Settings(StrictModel):
        """Skew, and the least amount."""

        alpha: float = Field(gt=0)
        """Concentration: small ones give every class to few clients, large ones deal evenly."""
        min_samples: int = Field(default=1, ge=1)
        """Draw again until every client has at least this many images."""
        images: int | None = Field(default=None, ge=1)
        """Of all clients together, as many of every class as of the others; all images if unset. Which ones depends on
        the seed alone, so that clients of one arm share what another arm gives to a single one."""

    def deal(self, labels: Rows, classes: tuple[str, ...], clients: int, generator: np.random.Generator) -> list[Rows]:
        """Draw proportions until every client has enough."""
        alpha, least = self.settings.alpha, self.settings.min_samples
        pools = self._kept(shuffled_by_class(labels, len(classes), generator), classes)
        total = sum(map(len, pools))
        if least * clients > total:
            raise DataError(
                f"data.partition.min_samples = {least} for {clients} clients asks for more than the {total} "
                "images that there are for training: lower it"
            )
        for _ in range(ATTEMPTS):
            shares = generator.dirichlet(np.full(clients, alpha), size=len(classes))
            cuts = [
                np.round(np.cumsum(share)[:-1] * len(pool)).astype(int)
                for share, pool in zip(shares, pools, strict=True)
            ]
            dealt = [np.split(pool, cut) for pool, cut in zip(pools, cuts, strict=True)]
            parts = [np.concatenate([pieces[k] for pieces in dealt]) for k in range(clients)]
            if min(len(rows) for rows in parts) >= least:
                return parts
        raise DataError(
            f"data.partition: {ATTEMPTS} draws of Dirichlet(alpha = {alpha}) never gave every client {least} images: "
            "raise alpha or lower min_samples"
        )

    def _kept(self, pools: list[Rows], classes: tuple[str, ...]) -> list[Rows]:
        """Take the first images of every class, where not all are wanted."""
        images = self.settings.images
        if images is None:
            return pools
        each, more = divmod(images, len(classes))
        wanted = [each + (label < more) for label in range(len(classes))]
        for name, pool, count in zip(classes, pools, wanted, strict=True):
            if count > len(pool):
                raise DataError(
                    f"data.partition.images = {images} takes {count} of class {name!r}, but there are {len(pool)} for "
                    "training: lower it"
                )
        return [pool[:count] for pool, count in zip(pools, wanted, strict=True)]
