"""A LeNet-like encoder: another family than the DCGAN's, for clients with architectures of their own."""

from typing import Annotated

from pydantic import Field
from torch import nn

from semfed.errors import ScenarioError
from semfed.models.base import last_width
from semfed.scenario.settings import StrictModel


class LeNet:
    """Two 5 x 5 convolutions with ReLU and max pooling, then two fully connected layers; no batch normalisation."""

    class Settings(StrictModel):
        """Widths."""

        channels: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (16, 32)
        """Feature maps of the two convolutions."""
        hidden: Annotated[int, Field(ge=1)] = 128
        """Width of the layer before the last."""
        outputs: Annotated[int, Field(ge=1)] | None = None
        """Real numbers that come out; left to the channel as a rule."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        """Make the network: input of shape (batch, *input_shape), output of shape (batch, outputs), float32."""
        width = last_width("lenet", outputs, self.settings.outputs, "set channel.uses or the model's outputs")
        if len(input_shape) != 3 or min(input_shape[1:]) < 4:
            raise ScenarioError(
                f"model 'lenet' needs images of 4 x 4 pixels or more, not inputs of shape {input_shape}"
            )
        channels, height, side = input_shape
        layers: list[nn.Module] = []
        for maps in self.settings.channels:
            layers += [nn.Conv2d(channels, maps, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
            channels, height, side = maps, height // 2, side // 2
        hidden = self.settings.hidden
        flat = channels * height * side
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, width))
