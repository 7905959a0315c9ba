"""Fully connected networks."""

import itertools
import math

from pydantic import Field
from torch import nn

from semfed.errors import ScenarioError
from semfed.models.dropout import Dropout
from semfed.settings import StrictModel


class MLP:
    """A fully connected network with ReLU between its layers; inputs are flattened.

    With hidden = [32], outputs = 8 and final_relu = true it is the encoder of arXiv 2601.17419, with hidden = [4]
    its decoder.
    """

    class Settings(StrictModel):
        """Widths."""

        hidden: tuple[int, ...] = ()
        outputs: int | None = Field(default=None, ge=1)
        """Width of the last layer; a decoder may leave it to its task."""
        final_relu: bool = False
        """ReLU after the last layer, too."""
        dropout: float = Field(default=0.0, ge=0, lt=1)
        """Before the last layer, while training."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        """Make the network: input of shape (batch, *input_shape), output of shape (batch, outputs), float32."""
        width = outputs or self.settings.outputs
        if width is None:
            raise ScenarioError("model 'mlp' needs 'outputs' here: set the width of its last layer")
        sizes = [math.prod(input_shape), *self.settings.hidden, width]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        if self.settings.dropout:
            layers.insert(-2, Dropout(self.settings.dropout))
        return nn.Sequential(*(layers if self.settings.final_relu else layers[:-1]))
