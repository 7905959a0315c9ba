"""A data set whose images have a real number each: scikit-learn's digits, and how bright they are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from semfed.data.source import Decoded, Split
from semfed.data.sources import Digits


class Measured(Digits):
    """The digits, with ``brightness``, the mean of their pixels from 0 to 1."""

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        """Decode the digits and measure them."""
        decoded = super().read(root, download=download)
        return replace(decoded, targets=(_brightness(decoded.train), _brightness(decoded.test)))


def _brightness(split: Split) -> dict[str, Any]:
    return {"brightness": split[0].mean(axis=(1, 2, 3)) / 255}
