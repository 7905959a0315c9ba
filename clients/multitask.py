"""A semantic transmitter-receiver pair: the encoder is shared through the strategy, the decoder stays private.

Source: "Semantic-Aware Task Clustering for Federated Cooperative Multi-Task Semantic Communication"
(arXiv 2601.17419), section III-A: the local objective is the cross-entropy through the noisy channel, eq. (4).
"""

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import cross_entropy

from semfed.flower.client.learner import Learner
from semfed.scenario.settings import StrictModel
from semfed.training.objective import Batch, Build, Networks, Send, Total, correct, mean_over

from .scores import ACCURACY


class MultitaskClient(Learner):
    """Trains an encoder and its own decoder through the channel; both are tested seen through the client's task."""

    Settings = StrictModel
    metrics = (ACCURACY,)
    requires_every_value = True

    def networks(self, build: Build) -> Networks:
        """Share the encoder; keep the decoder."""
        return Networks({"encoder": build.encoder()}, {"decoder": build.decoder(len(self.task.symbols))})

    def loss(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        """Return the cross-entropy in nats, eq. (4)."""
        return cross_entropy(nets.decoder(send(nets.encoder(batch.images))), batch.labels)

    def score(self, nets: Networks, batch: Batch, send: Send) -> Mapping[str, Total]:
        """Return the cross-entropy in nats and the accuracy, a fraction, of one transmission."""
        logits = nets.decoder(send(nets.encoder(batch.images)))
        loss = cross_entropy(logits, batch.labels)
        return {"loss": mean_over(batch, loss), "accuracy": correct(logits, batch.labels)}
