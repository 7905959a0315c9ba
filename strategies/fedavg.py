"""Federated averaging of whole models, and local-only training as the case in which nothing is exchanged.

Source: "Communication-Efficient Learning of Deep Networks from Decentralized Data" (AISTATS 2017).
"""

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from semfed.flower.averaging import average_replies
from semfed.flower.experiment import Experiment
from semfed.flower.strategy import FederatedStrategy, StrategySettings
from semfed.scenario import Scenario


class FedAvg(FederatedStrategy):
    """Average all the clients' arrays, buffers included, weighted by their samples D_k.

    Flower's own FedAvg does the same; this one adds the quorum, the checks and sums in the order of the clients.

    Parameters
    ----------
    experiment : Experiment
    settings : FedAvg.Settings
    """

    class Settings(StrategySettings):
        """Whether anything is averaged."""

        exchange: bool = True
        """False for local-only training: no parameters travel, and every client goes on from its own."""

        def check(self, scenario: Scenario) -> None:
            """Refuse to average models of different architectures."""
            if self.exchange:
                for client in scenario.clients:
                    if client.encoder not in (None, scenario.model.encoder):
                        raise ValueError(
                            f"client {client.name!r} has an encoder of its own, which cannot be averaged: "
                            "set strategy.exchange = false or remove it"
                        )

    def __init__(self, experiment: Experiment, settings: Settings) -> None:
        super().__init__(experiment, settings)
        self.exchange = settings.exchange
        self._sent = ArrayRecord()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send everyone the average."""
        return self._broadcast("train", server_round, arrays, config)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send everyone the new average."""
        return self._broadcast("evaluate", server_round, arrays, config)

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

    def _broadcast(
        self, message_type: str, server_round: int, arrays: ArrayRecord, config: ConfigRecord
    ) -> list[Message]:
        self._sent = arrays if self.exchange else ArrayRecord()
        clients = range(len(self.experiment.scenario.clients))
        return [self.message(client, message_type, server_round, self._sent, config) for client in clients]
