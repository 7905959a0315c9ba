"""The client of FedAvg and of local-only training: encoder and decoder learn together, the channel in between."""

from typing import Any

from semfed.flower.client.learner import Learner
from semfed.training.end_to_end import EndToEnd
from semfed.training.objective import Build, Networks

from .personal import PersonalClient


class JointClient(EndToEnd, PersonalClient, Learner):
    """Trains both networks on the same minibatches and through the same noise as a split client.

    With the parameters of an average it starts from them and returns its own. Without any it goes on from its own last
    weights, which it keeps to itself: local-only training.
    """

    keeps_model = True

    def networks(self, build: Build) -> Networks:
        """Share encoder and decoder, which start from the same weights at every client."""
        outputs = len(self.task.symbols)
        return Networks({"encoder": build.encoder(), "decoder": build.decoder(outputs, shared=True)})

    def test(self, nets: Networks, round_: int) -> tuple[float, int, dict[str, Any]]:
        """Test on the own classes and on all; see `PersonalClient.test_pair`."""
        return self.test_pair(nets.encoder, nets.decoder, round_)
