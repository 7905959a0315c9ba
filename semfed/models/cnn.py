"""Convolutional encoders: stages of 3 x 3 convolutions that end in max-pooling, then fully connected layers."""

import itertools
import math

import torch
from pydantic import Field
from torch import nn

from semfed.errors import ScenarioError
from semfed.models.base import last_width
from semfed.models.layers.dropout import Dropout
from semfed.scenario.settings import StrictModel


class Stage(StrictModel):
    """Convolutions at one resolution, each with ReLU; then 2 x 2 max-pooling, then dropout."""

    filters: tuple[int, ...] = Field(min_length=1)
    """Of every convolution."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """After the pooling, while training."""


class CNN:
    """A convolutional network for images.

    The encoders of arXiv 2308.06884, table I: Fashion-MNIST has stages of [32] and [32] with dropout 0.5 at the end,
    CIFAR-10 stages of [8, 4] and [4] with dropout 0.1; then a layer of 128.
    """

    class Settings(StrictModel):
        """Layers."""

        stages: tuple[Stage, ...] = Field(min_length=1)
        """From the image on."""
        padding: int = Field(default=0, ge=0, le=1)
        """0 for convolutions of the valid part only, 1 to keep the image's size."""
        hidden: tuple[int, ...] = ()
        """Widths of the dense layers before the last."""
        outputs: int | None = Field(default=None, ge=1)
        """Width of the last layer; channel uses may decide it."""
        final_relu: bool = False
        """ReLU after the last layer, too."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        """Make the network: input of shape (batch, channels, height, width), output of shape (batch, outputs).

        Raises
        ------
        ScenarioError
            If the width of the last layer is open, or the image is too small for so many stages.
        """
        width = last_width("cnn", outputs, self.settings.outputs)
        channels = input_shape[0]
        layers: list[nn.Module] = []
        for stage in self.settings.stages:
            for filters in stage.filters:
                layers += [nn.Conv2d(channels, filters, 3, padding=self.settings.padding), nn.ReLU()]
                channels = filters
            layers += [nn.MaxPool2d(2), Dropout(stage.dropout)]
        try:
            with torch.no_grad():
                flat = math.prod(nn.Sequential(*layers).eval()(torch.zeros(1, *input_shape)).shape[1:])
        except RuntimeError as error:
            raise ScenarioError(
                f"model 'cnn': images of shape {input_shape} are too small for {len(self.settings.stages)} stages; "
                "use fewer, or padding = 1"
            ) from error
        layers.append(nn.Flatten())
        for before, after in itertools.pairwise([flat, *self.settings.hidden, width]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*(layers if self.settings.final_relu else layers[:-1]))
