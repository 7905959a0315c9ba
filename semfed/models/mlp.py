"""Fully connected networks."""

import itertools
import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import linear

from semfed.models.base import last_width
from semfed.models.layers.dropout import Dropout
from semfed.scenario.settings import StrictModel


class MLP:
    """A fully connected network with ReLU (or tanh) between its layers; inputs are flattened.

    With hidden = [32], outputs = 8 and final_relu = true it is the encoder of arXiv 2601.17419, with hidden = [4]
    its decoder.
    """

    class Settings(StrictModel):
        """Widths."""

        hidden: tuple[PositiveInt, ...] = ()
        """Widths of the layers before the last."""
        outputs: int | None = Field(default=None, ge=1)
        """Width of the last layer; a decoder may leave it to its task."""
        final_relu: bool = False
        """ReLU after the last layer, too."""
        activation: Literal["relu", "tanh"] = "relu"
        """Between the layers."""
        dropout: float = Field(default=0.0, ge=0, lt=1)
        """Before the last layer, while training."""

        def idle(self, scenario: Any, here: str) -> Iterator[tuple[str, str]]:
            """Tell what has no effect; see `semfed.scenario.effects`."""
            if not self.hidden:
                yield f"{here}.activation", "there are no hidden layers"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        """Make the network: input of shape (batch, *input_shape), output of shape (batch, outputs), float32."""
        width = last_width("mlp", outputs, self.settings.outputs)
        sizes = [math.prod(input_shape), *self.settings.hidden, width]
        layers: list[nn.Module] = [nn.Flatten()]
        between = nn.Tanh if self.settings.activation == "tanh" else nn.ReLU
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), between()]
        layers[-1:] = [nn.ReLU()] if self.settings.final_relu else []
        if self.settings.dropout:
            last = max(index for index, layer in enumerate(layers) if isinstance(layer, nn.Linear))
            layers.insert(last, Dropout(self.settings.dropout))
        return FullyConnected(*layers)


class FullyConnected(nn.Sequential):
    """Layers in a row; linear ones and ReLU run as plain functions, since calling a module costs more than they do."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of shape (batch, outputs)."""
        for layer in self:
            if isinstance(layer, nn.Linear):
                x = linear(x, layer.weight, layer.bias)
            elif isinstance(layer, nn.ReLU):
                x = torch.relu(x)
            else:
                x = layer(x)
        return x
