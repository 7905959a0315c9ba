"""A semantic transmitter-receiver pair: the encoder is shared through the strategy, the decoder stays private.

Source: "Semantic-Aware Task Clustering for Federated Cooperative Multi-Task Semantic Communication"
(arXiv 2601.17419), section III-A: the local objective is the cross-entropy through the noisy channel, eq. (4).
"""

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import cross_entropy

from semfed.flower.client.learner import Learner
from semfed.scenario import Scenario, Task
from semfed.scenario.settings import StrictModel
from semfed.training.decisions import BALANCED_ACCURACY, F1, decisions
from semfed.training.judging import own_tasks
from semfed.training.objective import Batch, Build, Networks, Score, Send, mean_over

from .scores import ACCURACY


class MultitaskClient(Learner):
    """Trains an encoder and its own decoder through the channel; both are tested seen through the client's task."""

    Settings = StrictModel
    metrics = (ACCURACY, BALANCED_ACCURACY, F1)
    requires_every_value = True
    stacks = True

    @classmethod
    def judged(cls, scenario: Scenario) -> tuple[Task, ...]:
        """Return the tasks of the clients."""
        return own_tasks(scenario)

    def networks(self, build: Build) -> Networks:
        """Share the encoder; keep the decoder."""
        return Networks({"encoder": build.encoder()}, {"decoder": build.decoder(self.task.size)})

    def loss(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        """Return the cross-entropy in nats, eq. (4)."""
        return cross_entropy(nets.decoder(send(nets.encoder(batch.images))), batch.labels)

    def score(self, nets: Networks, batch: Batch, send: Send) -> Mapping[str, Score]:
        """Return the cross-entropy in nats, and how good the decisions are, of one transmission."""
        logits = nets.decoder(send(nets.encoder(batch.images)))
        loss = cross_entropy(logits, batch.labels)
        return {"loss": mean_over(batch, loss), **decisions(logits, batch.labels, self.judges)}
