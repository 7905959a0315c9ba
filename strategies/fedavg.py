"""Federated averaging of whole models, and local-only training as the case in which nothing is exchanged.

Source: "Communication-Efficient Learning of Deep Networks from Decentralized Data" (AISTATS 2017).
"""

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from pydantic import Field

from semfed import seeding
from semfed.flower.averaging import average_replies
from semfed.flower.server.accounts import ALL, unsent
from semfed.flower.server.strategy import FederatedStrategy, StrategySettings, require_one_architecture
from semfed.flower.trial import Trial
from semfed.scenario import Scenario


class FedAvg(FederatedStrategy):
    """Average all the clients' arrays, buffers included, weighted by their samples D_k.

    Flower's own FedAvg does the same; this one adds the quorum, the checks and sums in the order of the clients. Who is
    sampled depends on the seed and the round alone, not on the arm and not on the engine.

    Parameters
    ----------
    trial : Trial
    settings : FedAvg.Settings
    """

    stateless = True

    class Settings(StrategySettings):
        """Whether anything is averaged, and by how many clients in a round; fractions are named as in Flower."""

        exchange: bool = True
        """False for local-only training: no parameters travel, and every client goes on from its own."""
        fraction_train: float = Field(default=1.0, gt=0, le=1)
        """Share of the clients, at least one of them, that train in a round; who it is is drawn anew every round."""
        fraction_evaluate: float = Field(default=1.0, ge=0, le=1)
        """Share of the clients that test after a round; 0 for no test at all."""

        def check(self, scenario: Scenario) -> None:
            """Refuse to average models of different architectures, and clients that cannot train alone."""
            if self.exchange:
                require_one_architecture(scenario, "set strategy.exchange = false")
            elif not getattr(scenario.learner.load(), "keeps_model", False):
                raise ValueError(
                    f"strategy.exchange = false, but learner {scenario.learner.name!r} keeps no whole model to go on "
                    "from: use learner 'joint', or strategy 'clustered' with clusters = 'individual'"
                )

    def __init__(self, trial: Trial, settings: Settings) -> None:
        super().__init__(trial, settings)
        self.exchange = settings.exchange
        self.fraction_train = settings.fraction_train
        self.fraction_evaluate = settings.fraction_evaluate
        self._sent = ArrayRecord()

    @property
    def only_averages(self) -> bool:
        """Whether no subclass looks at the replies itself."""
        return type(self).aggregate_train is FedAvg.aggregate_train

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the round's clients the average."""
        clients = self._sample(self.fraction_train, "sampling", server_round)
        return self._broadcast(clients, "train", server_round, arrays, config)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the new average to those who test it."""
        clients = self._sample(self.fraction_evaluate, "evaluation-sampling", server_round)
        return self._broadcast(clients, "evaluate", server_round, arrays, config)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average what came back.

        Returns
        -------
        arrays : ArrayRecord
            Empty without an exchange.
        metrics : MetricRecord
        """
        return average_replies(self.usable(server_round, replies, expected=self._sent), weighted=True)

    def _sample(self, fraction: float, purpose: str, server_round: int) -> list[int]:
        """Draw the clients of a round without replacement; return them in ascending order."""
        total = len(self.trial.scenario.clients)
        if fraction in (0.0, 1.0):
            return list(range(total if fraction else 0))
        generator = seeding.numpy_generator(self.trial.seed, purpose, server_round)
        drawn = generator.choice(total, size=max(1, int(fraction * total)), replace=False)
        return sorted(drawn.tolist())

    def _broadcast(
        self, clients: Iterable[int], message_type: str, server_round: int, arrays: ArrayRecord, config: ConfigRecord
    ) -> list[Message]:
        self._sent = arrays if self.exchange else ArrayRecord()
        alone = len(self.trial.scenario.clients) == 1
        apart = unsent(down=[ALL], up=[ALL]) if alone else None
        return self.messages(clients, message_type, server_round, self._sent, config, unsent=apart)
