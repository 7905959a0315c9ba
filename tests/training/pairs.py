"""An encoder and a decoder under the loss of `EndToEnd`, made by the tests themselves."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from semfed.training.end_to_end import EndToEnd
from semfed.training.fused.stacked import Cohort
from semfed.training.objective import Build, Networks


class Pair(EndToEnd):
    def networks(self, build: Build) -> Networks:
        raise NotImplementedError


def states_of(cohort: Cohort) -> list[list[np.ndarray]]:
    """Return every client's weights and buffers."""
    return [[tensor.numpy() for tensor in state.values()] for state, _ in cohort.clients()]


def pair(networks: Sequence[nn.Module]) -> Networks:
    encoder, decoder = networks
    return Networks({"encoder": encoder, "decoder": decoder})
