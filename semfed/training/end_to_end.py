"""The objective of classification end to end: encoder, channel and decoder learn together."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import cross_entropy

from semfed.training.objective import Batch, Networks, Objective, Send, Total, correct, mean_over


class EndToEnd(Objective):
    """Mean cross-entropy of the decision that ``nets.decoder`` makes of what ``nets.encoder`` sent, in nats."""

    def loss(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        """Return the cross-entropy of a minibatch; ``batch.labels`` has shape (batch,)."""
        return cross_entropy(nets.decoder(send(nets.encoder(batch.images))), batch.labels)

    def score(self, nets: Networks, batch: Batch, send: Send) -> Mapping[str, Total]:
        """Return ``loss`` and ``accuracy`` of one and the same transmission."""
        logits = nets.decoder(send(nets.encoder(batch.images)))
        return {
            "loss": mean_over(batch, cross_entropy(logits, batch.labels)),
            "accuracy": correct(logits, batch.labels),
        }
