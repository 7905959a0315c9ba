"""What a link decides about image files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from semfed.data.pixels import Reading, decode
from semfed.errors import DataError
from semfed.runs.link import Link


@dataclass(frozen=True)
class Decision:
    """What is decided about an image in a task.

    Attributes
    ----------
    image : Path
    task : str
    value : str
        Name of the value that the decoder takes for the most likely.
    probability : float
        What it takes for that value's probability.
    """

    image: Path
    task: str
    value: str
    probability: float


def predict(link: Link, images: Sequence[Path], noise: int = 0) -> list[Decision]:
    """Send images through a link, all of them in one batch.

    Images are read as the run's data source reads them where it says how, such as to which size they are brought; else
    they must have the size of those that the link was trained on, and become grey or coloured like these.

    Parameters
    ----------
    link : Link
    images : sequence of Path
    noise : int
        Seed of the channel's noise.

    Returns
    -------
    list of Decision
        Image by image, its tasks in their order.

    Raises
    ------
    DataError
        If an image cannot be read, or has another size.
    """
    channels, height, width = link.images.shape
    said = getattr(link.trial.scenario.data.source.settings, "reading", None)
    reading = replace(said if isinstance(said, Reading) else Reading(), grayscale=channels == 1)
    pixels = []
    for path in images:
        decoded = decode(path, reading)
        if decoded.shape != link.images.shape:
            raise DataError(
                f"image '{path}' has {decoded.shape[2]} x {decoded.shape[1]} pixels, but the run's have {width} x "
                f"{height}: bring it to that size"
            )
        pixels.append(decoded)
    with torch.no_grad():
        found = link.probabilities(torch.from_numpy(np.stack(pixels)), noise)
    return [
        Decision(path, task, link.values[task][int(own[k].argmax())], float(own[k].max()))
        for k, path in enumerate(images)
        for task, own in found.items()
    ]
