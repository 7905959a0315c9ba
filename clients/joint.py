"""The client of FedAvg and of local-only training: encoder and decoder learn together, the channel in between."""

from typing import Any

import numpy.typing as npt

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

    def evaluate(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """Test an average, or what the client keeps, on its own classes and on all; see `PersonalClient.test`."""
        nets = self._load(parameters, self.session.load("training") or {})
        return self.test(nets.encoder, nets.decoder, int(config["server-round"]))
