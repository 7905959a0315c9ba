"""The objective of classification end to end: encoder, channel and decoder learn together."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from semfed.events.metrics import Metric
from semfed.scenario import Scenario, Task
from semfed.training.decisions import BALANCED_ACCURACY, F1, decisions
from semfed.training.judging import own_tasks
from semfed.training.objective import Batch, Networks, Objective, Score, Send, mean_over


class EndToEnd(Objective):
    """Mean cross-entropy of the decision that ``nets.decoder`` makes of what ``nets.encoder`` sent, in nats."""

    metrics: ClassVar[tuple[Metric, ...]] = (BALANCED_ACCURACY, F1)
    stacks = True

    @classmethod
    def judged(cls, scenario: Scenario) -> tuple[Task, ...]:
        """Return the tasks of the clients: the scenario's ``metrics`` are among the scores."""
        return own_tasks(scenario)

    def loss(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        """Return the cross-entropy of a minibatch; ``batch.labels`` has shape (batch,)."""
        return cross_entropy(nets.decoder(send(nets.encoder(batch.images))), batch.labels)

    def score(self, nets: Networks, batch: Batch, send: Send) -> Mapping[str, Score]:
        """Return ``loss``, ``accuracy``, ``balanced-accuracy``, ``f1`` and what `judges` say, of one transmission."""
        logits = nets.decoder(send(nets.encoder(batch.images)))
        return {
            "loss": mean_over(batch, cross_entropy(logits, batch.labels)),
            **decisions(logits, batch.labels, self.judges),
        }
