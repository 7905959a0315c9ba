"""A classifier on top of latents, as in arXiv 2602.17271's trials."""

import math

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from semfed.errors import ScenarioError
from semfed.scenario.settings import StrictModel


class UnitNorm(nn.Module):
    """Scale every sample, shape (batch, width), to Euclidean norm 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled batch, of the same shape."""
        return normalize(x)


class LatentClassifier:
    """L2-normalise -> LayerNorm -> Linear(d, hidden) -> Tanh -> LayerNorm -> Linear(hidden, values)."""

    class Settings(StrictModel):
        """Widths."""

        hidden: int = Field(default=10, ge=1)
        """Width of the hidden layer."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int | None) -> nn.Module:
        """Make the network: input of shape (batch, *input_shape), output of shape (batch, outputs), float32."""
        if outputs is None:
            raise ScenarioError("model 'latent-classifier' decides among values: use it as a decoder")
        width, hidden = math.prod(input_shape), self.settings.hidden
        return nn.Sequential(
            nn.Flatten(), UnitNorm(), nn.LayerNorm(width), nn.Linear(width, hidden),
            nn.Tanh(), nn.LayerNorm(hidden), nn.Linear(hidden, outputs),
        )  # fmt: skip
