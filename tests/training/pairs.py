"""An encoder and a decoder under the loss of `EndToEnd`, made by the tests themselves."""

from collections.abc import Sequence

from torch import nn

from semfed.training.end_to_end import EndToEnd
from semfed.training.objective import Build, Networks


class Pair(EndToEnd):
    def networks(self, build: Build) -> Networks:
        raise NotImplementedError


def pair(networks: Sequence[nn.Module]) -> Networks:
    encoder, decoder = networks
    return Networks({"encoder": encoder, "decoder": decoder})
