"""The DCGAN-like convolutional encoder of FedCL (arXiv 2406.09182, section III)."""

from typing import Annotated

from pydantic import Field
from torch import nn

from semfed.errors import ScenarioError
from semfed.models.base import last_width
from semfed.scenario.settings import StrictModel


class DCGAN:
    """Strided 4 x 4 convolutions that halve the image and double the width, without pooling.

    LeakyReLU(0.2) after each of the three, batch normalisation on the second and third; a last convolution spans
    what is left of the image.
    """

    class Settings(StrictModel):
        """Width."""

        nf: Annotated[int, Field(ge=1, title="feature maps of the first layer")] = 16
        """Feature maps of the first layer: 16 is small enough for a CPU, 64 is full size."""
        outputs: Annotated[int, Field(ge=1)] | None = None
        """Real numbers that come out; left to the channel as a rule."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        """Make the network: input of shape (batch, *input_shape), output of shape (batch, outputs), float32."""
        width = last_width("dcgan", outputs, self.settings.outputs, "set channel.uses or the model's outputs")
        if len(input_shape) != 3 or min(input_shape[1:]) < 8:
            raise ScenarioError(
                f"model 'dcgan' needs images of 8 x 8 pixels or more, not inputs of shape {input_shape}"
            )
        nf = self.settings.nf
        layers: list[nn.Module] = []
        channels, height, side = input_shape
        for maps in (nf, 2 * nf, 4 * nf):
            normalised = maps > nf  # which takes a constant away again: no bias before it
            layers.append(nn.Conv2d(channels, maps, 4, stride=2, padding=1, bias=not normalised))
            if normalised:
                layers.append(nn.BatchNorm2d(maps))
            layers.append(nn.LeakyReLU(0.2))
            channels, height, side = maps, height // 2, side // 2
        return nn.Sequential(*layers, nn.Conv2d(channels, width, (height, side)), nn.Flatten())
