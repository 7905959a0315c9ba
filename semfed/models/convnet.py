"""A small convolutional network."""

import itertools

import torch
from pydantic import Field
from torch import nn

from semfed.models.base import last_width
from semfed.scenario.settings import StrictModel


class ConvNet:
    """3 x 3 convolutions of stride 2 with ReLU, then one linear layer."""

    class Settings(StrictModel):
        """Widths."""

        channels: tuple[int, ...] = Field(default=(16, 32), min_length=1)
        """Of every convolution."""
        outputs: int | None = Field(default=None, ge=1)
        """Width of the linear layer; a decoder may leave it to its task."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        """Make the network: input of shape (batch, channels, height, width), output (batch, outputs), float32."""
        width = last_width("convnet", outputs, self.settings.outputs)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((input_shape[0], *self.settings.channels)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        features = nn.Sequential(*layers, nn.Flatten()).eval()
        with torch.no_grad():
            size = features(torch.zeros(1, *input_shape)).shape[1]
        return nn.Sequential(features, nn.Linear(size, width))
