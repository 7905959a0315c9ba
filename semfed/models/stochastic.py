"""Stochastic encoders of a scenario: any model as the trunk, with heads for mean and log-variance."""

import torch

from semfed import seeding
from semfed.models.base import build
from semfed.models.layers.gaussian import GaussianEncoder
from semfed.scenario.plugins import Plugin

Stream = tuple[int, str, int]


def build_stochastic(
    choice: Plugin,
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    bounded: bool,
    trunk: Stream,
    heads: Stream,
) -> GaussianEncoder:
    """Make a stochastic encoder whose initial weights depend on two streams only.

    Parameters
    ----------
    choice : Plugin
        A model of the scenario, the trunk.
    input_shape : tuple of int
        Without the batch axis.
    outputs : int
        Numbers that each of the two heads gives out.
    bounded : bool
        See `GaussianEncoder`.
    trunk, heads : (seed, purpose, index)
        The random streams of the weights; see `semfed.seeding`.
    """
    below = build(choice, input_shape, stream=trunk)
    with torch.no_grad():
        features = int(below(torch.zeros(1, *input_shape)).shape[1])
    with seeding.initialisation(*heads):
        return GaussianEncoder(below, features, outputs, bounded=bounded).eval()
