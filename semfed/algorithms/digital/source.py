"""A data set whose images have been sent digitally: what is left of them within a budget of bits.

With it, and without a channel, every scenario has a digital baseline: the same networks, trained on the images as they
are, decide on what a receiver of so many bits would show.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from semfed.algorithms.digital import jpeg, pixels
from semfed.data.source import Decoded, Source
from semfed.errors import DataError
from semfed.scenario import Scenario
from semfed.scenario.choices import SourceChoice
from semfed.scenario.settings import StrictModel, only_when

KNOWN = 2_000
"""Training images, the first ones, by which `pixels.best_shape` chooses."""


class Compressed:
    """Images of another data set, compressed to a number of bits each and decompressed again."""

    class Settings(StrictModel):
        """What is compressed and how."""

        of: SourceChoice
        """The data set."""
        bits: float = Field(gt=0)
        """That an image may take: for a baseline at capacity, those of `semfed.algorithms.digital.capacity`."""
        code: Literal["jpeg", "pixels"] = "jpeg"
        """JPEG of the highest quality that fits, or fewer pixels with fewer levels, for a budget below any JPEG."""
        header: Annotated[jpeg.HeaderRule, only_when(code="jpeg")] = "known"
        """Whether JPEG's tables are ``known`` to the receiver, so that the quality alone is sent, or ``counted``."""
        parts: Literal["test", "all"] = "test"
        """Whether networks learn from images as they are, or from compressed ones, too."""

        def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
            """Tell what has no effect; see `semfed.scenario.effects`."""
            if not getattr(self.of.load(), "downloads", True):
                yield "data.download", f"data source '{self.of.name}' has nothing to download"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._of: Source = settings.of.make()

    def files(self, root: Path | None) -> list[Path] | None:
        """Return the files of the other data set."""
        return self._of.files(root)

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        """Decode the other data set and compress its images; mean and standard deviation stay as they are.

        Raises
        ------
        DataError
            If the other data set cannot be read, or none of its images fits.
        """
        asked = self.settings
        decoded = self._of.read(root, download=download).checked(asked.of.name)
        train, test = (torch.from_numpy(images) for images, _ in (decoded.train, decoded.test))
        shown = self._compress(test, train, decoded)
        title = f"{decoded.title}, {asked.code} in {asked.bits:g} bits"
        compressed = replace(decoded, title=title, test=(shown.numpy(), decoded.test[1]))
        if asked.parts == "test":
            return compressed
        return replace(compressed, train=(self._compress(train, train, decoded).numpy(), decoded.train[1]))

    def _compress(self, images: Tensor, known: Tensor, decoded: Decoded) -> Tensor:
        asked = self.settings
        if asked.code == "pixels":
            shape = pixels.best_shape(known[:KNOWN], asked.bits)
            if shape is None:
                raise DataError(
                    f"data.source.bits = {asked.bits:g}: a single pixel of {images.shape[1]} channels takes "
                    f"{images.shape[1]} bits at least; raise it"
                )
            return pixels.coarse(images, *shape)
        if images.shape[1] not in (1, 3):
            raise DataError(
                f"data.source.code = 'jpeg': images have 1 or 3 channels, these have {images.shape[1]}; take 'pixels'"
            )
        measured = jpeg.sizes(images, asked.header)
        qualities = jpeg.best_quality(measured, torch.tensor(asked.bits))
        if not qualities.any():
            raise DataError(
                f"data.source.bits = {asked.bits:g}: the smallest of the images takes {int(measured.min())} bits as "
                "JPEG; raise it, or take code 'pixels'"
            )
        return jpeg.compressed(images, qualities, jpeg.colour(decoded.mean, images.shape[1]))
