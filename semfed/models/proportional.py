"""Fully connected networks as wide as what they receive: decoders that follow the number of channel uses."""

import itertools
import math

from pydantic import Field
from torch import nn

from semfed.models.base import last_width
from semfed.scenario.settings import StrictModel


class Proportional:
    """A fully connected network with ReLU between its layers, whose hidden widths are fractions of its input's.

    With fractions = [1.0, 0.5] it is the decoder of arXiv 2308.06884, n_c - n_c - n_c / 2 - 2; with [1.0] that of
    CMT-SemCom with the implicit optimal prior, d - d - values.
    """

    class Settings(StrictModel):
        """Widths."""

        fractions: tuple[float, ...] = Field(default=(1.0,), min_length=1)
        """Widths of the layers before the last, as shares of the number of inputs."""
        outputs: int | None = Field(default=None, ge=1)
        """Width of the last layer; a decoder may leave it to its task."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        """Make the network: input of shape (batch, *input_shape), output of shape (batch, outputs), float32."""
        width = last_width("proportional", outputs, self.settings.outputs)
        inputs = math.prod(input_shape)
        sizes = [inputs, *(max(1, int(inputs * f)) for f in self.settings.fractions), width]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*layers[:-1])
