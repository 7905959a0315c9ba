"""Federated averaging of whole models, and local-only training as the case in which nothing is exchanged.

Source: "Communication-Efficient Learning of Deep Networks from Decentralized Data" (AISTATS 2017).
"""

from flwr.app import ArrayRecord

from semfed.flower.arrays import Arrays
from semfed.flower.averaging import Average, add_reply
from semfed.flower.server.broadcast import BroadcastStrategy
from semfed.flower.server.replies import Replies
from semfed.flower.server.strategy import require_one_architecture
from semfed.scenario import Scenario


class FedAvg(BroadcastStrategy):
    """Average all the clients' arrays, buffers included, weighted by their samples D_k.

    Flower's own FedAvg does the same; this one adds the quorum, the checks and sums in the order of the clients.
    """

    stateless = True

    class Settings(BroadcastStrategy.Settings):
        """Whether anything is averaged."""

        exchange: bool = True
        """False for local-only training: no parameters travel, and every client goes on from its own."""

        def check(self, scenario: Scenario) -> None:
            """Refuse to average models of different architectures, and clients that cannot train alone."""
            if self.exchange:
                require_one_architecture(scenario, "set strategy.exchange = false")
            elif not getattr(scenario.learner.load(), "keeps_model", False):
                raise ValueError(
                    f"strategy.exchange = false, but learner {scenario.learner.name!r} keeps no whole model to go on "
                    "from: use learner 'joint', or strategy 'clustered' with clusters = 'individual'"
                )

    @property
    def only_averages(self) -> bool:
        """Whether no subclass looks at the replies itself."""
        own = type(self)
        return own.aggregate is FedAvg.aggregate and own.aggregate_train is FedAvg.aggregate_train

    def model(self, arrays: ArrayRecord) -> ArrayRecord:
        """Return the average, or nothing without an exchange."""
        return arrays if self.settings.exchange else ArrayRecord()

    def aggregate(self, replies: Replies) -> Arrays:
        """Return the mean, weighted by ``num-examples``."""
        average = Average(replies.total)
        for reply in replies:
            add_reply(average, reply, weighted=True, place=replies.places[reply.metadata.src_node_id])
        return average.mean()
