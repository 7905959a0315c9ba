"""Images that are made up, as many and as large as those of a data set: what is timed does not depend on them."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from semfed.data.source import Decoded
from semfed.data.sources import CIFAR10, MNIST, FashionMNIST
from semfed.scenario.settings import StrictModel

LIKE = {
    "mnist": (MNIST, (1, 28, 28), 60_000),
    "fashion-mnist": (FashionMNIST, (1, 28, 28), 60_000),
    "cifar10": (CIFAR10, (3, 32, 32), 50_000),
}
"""Who lends classes and statistics, the shape of an image, and how many train."""


class MadeUp:
    """Every class has a picture of its own, and every image is that with noise: from a fixed seed, no files."""

    class Settings(StrictModel):
        """What they look like."""

        like: Literal["mnist", "fashion-mnist", "cifar10"]
        images: int | None = Field(default=None, ge=60)
        """Training images; as many as the data set has if unset."""
        tested: int = Field(default=10_000, ge=10)
        """Test images."""

    downloads = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def files(self, root: Path | None) -> None:
        """There are none."""

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        """Draw them."""
        settings = self.settings
        return drawn(settings.like, settings.images or LIKE[settings.like][2], settings.tested)


@lru_cache(maxsize=4)
def drawn(like: str, images: int, tested: int) -> Decoded:
    """Draw images about as bright and as rich in contrast as the data set's; classes are as frequent as each other."""
    model, shape, _ = LIKE[like]
    generator = np.random.default_rng(0)
    pictures = generator.standard_normal((len(model.classes), *shape), dtype=np.float32)
    mean, std = (np.array(numbers, dtype=np.float32)[:, None, None] for numbers in (model.mean, model.std))
    splits = []
    for count in (images, tested):
        labels = generator.permutation(np.arange(count) % len(model.classes))
        noisy = generator.standard_normal((count, *shape), dtype=np.float32)
        noisy += pictures[labels]
        splits.append((((noisy * std / 2**0.5 + mean) * 255).clip(0, 255).astype(np.uint8), labels.astype(np.int64)))
    return Decoded(f"made up like {model.title}", model.classes, splits[0], splits[1], model.mean, model.std)
