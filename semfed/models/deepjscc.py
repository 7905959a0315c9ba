"""The convolutional encoder and decoder of deep joint source-channel coding, for images.

Source: "Deep Joint Source-Channel Coding for Wireless Image Transmission" (Bourtsoulatze, Kurka, Gündüz, IEEE
Transactions on Cognitive Communications and Networking, 2019, Fig. 2): five convolutions of 5 x 5, the first two of
stride 2, each with PReLU, and their mirror image of transposed convolutions, with a sigmoid at the end.

How wide they are follows from the channel uses. An image of n = 3 x 32 x 32 = 3,072 numbers, the paper's n, becomes c
feature maps of 8 x 8 numbers, which two by two make k = 64 c / 2 complex symbols, the paper's k. So its bandwidth ratio
k / n = 1/6 is ``channel.uses = 512`` with ``symbols = "complex"`` and c = 16, and 1/12 is 256 and c = 8. The average
power constraint that ends the paper's encoder is the channel's here, ``power = "sample"``.
"""

import itertools
import math
from typing import Annotated

from pydantic import Field
from torch import nn

from semfed.errors import ScenarioError
from semfed.scenario.settings import StrictModel

KERNEL, SHRINK = 5, 4
"""Pixels a side of a kernel; how many times smaller feature maps are than images, a side."""
Filters = Annotated[int, Field(ge=1)]


class _Settings(StrictModel):
    """Widths."""

    filters: tuple[Filters, Filters, Filters, Filters] = (16, 32, 32, 32)
    """Feature maps of the encoder's inner convolutions, from the image on; the decoder has them the other way round."""


class DeepJSCCEncoder:
    """From an image to what is sent: five convolutions with PReLU, to a sixteenth of the pixels.

    Images are best given from 0 to 1, as the paper does: ``data.mean = [0.0]``, ``data.std = [1.0]``.
    """

    class Settings(_Settings):
        """Widths."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        """Make the network: input of shape (batch, channels, height, width), output of shape (batch, outputs), float32.

        Raises
        ------
        ScenarioError
            If there is no image whose sides are multiples of 4, or `outputs` is no whole number of feature maps.
        """
        maps = _maps("deepjscc-encoder", input_shape, outputs)
        channels = (input_shape[0], *self.settings.filters, maps)
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(itertools.pairwise(channels)):
            layers += [nn.Conv2d(before, after, KERNEL, stride=2 if place < 2 else 1, padding=2), nn.PReLU()]
        return _initialised(nn.Sequential(*layers, nn.Flatten()))


class DeepJSCCDecoder:
    """From what is received to an image with pixels from 0 to 1: the encoder mirrored, with a sigmoid at the end."""

    class Settings(_Settings):
        """Widths, and the image."""

        image: tuple[Filters, Filters, Filters] | None = None
        """Channels, height and width of the images; unset, they are square with one channel or three, which follows
        from the number of pixels."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        """Make the network: input of shape (batch, numbers), output of shape (batch, outputs), float32.

        `outputs` is the number of an image's values, channels x height x width, and the output in that order.

        Raises
        ------
        ScenarioError
            If that is no image whose sides are multiples of 4, or `input_shape` no whole number of feature maps.
        """
        image = self._image(outputs)
        maps = _maps("deepjscc-decoder", image, math.prod(input_shape))
        channels = (maps, *reversed(self.settings.filters), image[0])
        layers: list[nn.Module] = [nn.Unflatten(1, (maps, image[1] // SHRINK, image[2] // SHRINK))]
        for place, (before, after) in enumerate(itertools.pairwise(channels)):
            stride = 2 if place > 2 else 1
            layers += [
                nn.ConvTranspose2d(before, after, KERNEL, stride=stride, padding=2, output_padding=stride - 1),
                nn.PReLU(),
            ]
        return _initialised(nn.Sequential(*layers[:-1], nn.Sigmoid(), nn.Flatten()))

    def _image(self, outputs: int | None) -> tuple[int, int, int]:
        """Return channels, height and width; no square number is three times another one."""
        told = self.settings.image
        sides = {channels: math.isqrt((outputs or 0) // channels) for channels in (1, 3)}
        square = [(channels, side, side) for channels, side in sides.items() if channels * side**2 == outputs]
        found = told or (square[0] if square else None)
        if found is None or math.prod(found) != outputs:
            what = (
                "no square image of one channel or three" if told is None else f"no image of shape {list(found or ())}"
            )
            raise ScenarioError(
                f"model 'deepjscc-decoder' makes images, but {outputs} numbers are wanted, which is {what}: give it a "
                "task of reconstruction, and its setting 'image' where images are not square"
            )
        return found


def _initialised(network: nn.Sequential) -> nn.Sequential:
    """Draw kernels as Glorot and Bengio do, without biases: torch's own are smaller, and training begins slower."""
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def _maps(model: str, image: tuple[int, ...], numbers: int | None) -> int:
    """Return how many feature maps of a sixteenth of the pixels make so many numbers."""
    if len(image) != 3 or image[1] % SHRINK or image[2] % SHRINK:
        raise ScenarioError(
            f"model {model!r} needs images whose height and width are multiples of {SHRINK}, not of shape {image}: "
            "bring them to such a size"
        )
    pixels = image[1] * image[2] // SHRINK**2
    if not numbers or numbers % pixels:
        raise ScenarioError(
            f"model {model!r} makes feature maps of {pixels} numbers of images of shape {image}, which "
            f"{numbers or 'no decided number of'} numbers to send are not: set channel.uses so that it carries a "
            f"multiple of {pixels} real numbers"
        )
    return numbers // pixels
