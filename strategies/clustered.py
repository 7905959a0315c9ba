"""Clustered federated averaging: encoders are averaged inside clusters of semantically similar tasks.

Source: "Semantic-Aware Task Clustering for Federated Cooperative Multi-Task Semantic Communication"
(arXiv 2601.17419): similarity eq. (8), clusters section III-C, aggregation eq. (5).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from pydantic import Field

from semfed.algorithms import information
from semfed.errors import DataError
from semfed.flower import arrays as wire
from semfed.flower.averaging import Average, add_reply, average_metrics
from semfed.flower.server.accounts import ALL, unsent
from semfed.flower.server.federation import Federation
from semfed.flower.server.strategy import Arrays, FederatedStrategy, StrategySettings, require_one_architecture
from semfed.flower.trial import Trial
from semfed.scenario import Scenario
from semfed.scenario.settings import only_when

ALONE = unsent(down=[ALL], up=[ALL])
"""A client that is alone in its cluster keeps its encoder; nobody else needs it."""
PROBABILITY_BYTES = 8


class ClusteredStrategy(FederatedStrategy):
    """Average the shared arrays inside every cluster of clients.

    Unclustered training is one cluster of all, individual training is clusters of one; both are this same strategy
    with another partition.

    Parameters
    ----------
    trial : Trial
    settings : ClusteredStrategy.Settings
    """

    class Settings(StrategySettings):
        """Where the clusters come from and how they average."""

        clusters: Literal["similarity", "one", "individual"] | tuple[tuple[int, ...], ...] = "similarity"
        """``similarity``: found from the clients' pmfs; ``one``: all together; ``individual``: everyone alone; or a
        given partition of client indices, such as ``[[0, 2], [1]]``."""
        alphabet: information.Alphabet = "named"
        """How pmfs of tasks are brought to one alphabet; see `semfed.algorithms.information.on_common_alphabet`."""
        threshold: Annotated[float | None, only_when(clusters="similarity")] = Field(default=None, ge=0, le=1)
        """Similarity from which on tasks are related; the midpoint of the smallest and largest if unset."""
        weighted: bool = False
        """Weigh clients by their number of samples instead of equally."""

        def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
            """Tell what has no effect; see `semfed.scenario.effects`."""
            given = () if isinstance(self.clusters, str) else self.clusters
            if self.clusters == "individual" or (given and all(len(cluster) == 1 for cluster in given)):
                yield f"{here}.weighted", "every client is alone in its cluster"

        def check(self, scenario: Scenario) -> None:
            """Refuse settings that cannot work with the scenario's clients."""
            require_one_architecture(scenario, "use strategy 'fedavg' with exchange = false")
            count = len(scenario.clients)
            if self.clusters == "similarity" and self.threshold is None and count < 3:
                raise ValueError(
                    f"strategy.threshold is unset, but {count} clients have no midpoint of similarities: set it"
                )
            if not isinstance(self.clusters, str):
                members = sorted(client for cluster in self.clusters for client in cluster)
                if members != list(range(count)):
                    raise ValueError(
                        f"strategy.clusters = {[list(c) for c in self.clusters]} must hold every client index "
                        f"0 .. {count - 1} exactly once"
                    )

    def __init__(self, trial: Trial, settings: Settings) -> None:
        super().__init__(trial, settings)
        self.settings = settings
        self.clusters: list[list[int]] = []
        self.similarity: list[list[float]] | None = None
        self.threshold: float | None = settings.threshold
        self._models: list[ArrayRecord] = []

    def prepare(self, federation: Federation) -> None:
        """Find the clusters.

        Raises
        ------
        DataError
            If clusters are to come from similarities and a client told no pmf.
        """
        self.federation = federation
        count = len(self.trial.scenario.clients)
        self._measure_similarity(federation)
        if self.settings.clusters == "similarity":
            if self.similarity is None or self.threshold is None:
                raise DataError(
                    "strategy.clusters = 'similarity' needs clients that tell their pmf; give clusters instead"
                )
            self.clusters = information.clusters(self.similarity, self.threshold)
            for client, spec in enumerate(self.trial.scenario.clients):
                symbols = self.trial.scenario.tasks[spec.task].symbols
                federation.report("cost/bytes_up", float(PROBABILITY_BYTES * len(symbols)), client)
        elif self.settings.clusters == "one":
            self.clusters = [list(range(count))]
        elif self.settings.clusters == "individual":
            self.clusters = [[client] for client in range(count)]
        else:
            self.clusters = [sorted(cluster) for cluster in self.settings.clusters]

    def details(self) -> dict[str, Any]:
        """Return clusters, similarity matrix and threshold."""
        return {"clusters": self.clusters, "similarity": self.similarity, "threshold": self.threshold}

    def state(self) -> Arrays:
        """Return nothing: `aggregate_train` returns all clusters' encoders, and `prepare` finds the clusters again."""
        return {}

    def restore(self, arrays: Arrays, state: Arrays) -> None:
        """Give every cluster its encoder again."""
        names = [name.removeprefix("0/") for name in arrays if name.startswith("0/")]
        if names:
            self._models = [
                ArrayRecord({name: Array(arrays[f"{index}/{name}"]) for name in names})
                for index in range(len(self.clusters))
            ]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send every client the encoder of its cluster."""
        return self._broadcast("train", server_round, arrays, config)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send every client the aggregated encoder of its cluster."""
        return self._broadcast("evaluate", server_round, arrays, config)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average inside the clusters, eq. (5); a cluster without a usable reply keeps its encoder.

        Returns
        -------
        arrays : ArrayRecord
            All clusters' encoders, named ``<cluster>/<array>``.
        metrics : MetricRecord
        """
        good, told = self.usable(server_round, replies, expected=self._models[0]), []
        averages = defaultdict[int, Average](lambda: Average(good.total))
        cluster_of = {client: index for index, cluster in enumerate(self.clusters) for client in cluster}
        for reply in good:
            client = reply.metadata.src_node_id
            average, place = averages[cluster_of[client]], good.places[client]
            told.append(add_reply(average, reply, weighted=self.settings.weighted, place=place))
        for index, average in averages.items():
            self._models[index] = wire.record(average.mean())
        merged = ArrayRecord()
        for index, model in enumerate(self._models):
            merged.update({f"{index}/{name}": array for name, array in model.items()})
        return merged, average_metrics(told)

    def _broadcast(
        self, message_type: str, server_round: int, arrays: ArrayRecord, config: ConfigRecord
    ) -> list[Message]:
        if not self._models:  # the first round: every cluster starts from the same encoder
            self._models = [arrays for _ in self.clusters]
        return [
            message
            for cluster, model in zip(self.clusters, self._models, strict=True)
            for message in self.messages(
                cluster, message_type, server_round, model, config, unsent=ALONE if len(cluster) == 1 else None
            )
        ]

    def _measure_similarity(self, federation: Federation) -> None:
        scenario = self.trial.scenario
        tasks = [scenario.tasks[client.task] for client in scenario.clients]
        pmfs = []
        for client, task in enumerate(tasks):
            told = federation.properties[client]
            if not task.symbols or any(f"pmf/{symbol}" not in told for symbol in task.symbols):
                return
            pmfs.append({symbol: float(told[f"pmf/{symbol}"]) for symbol in task.symbols})
        common = information.on_common_alphabet(pmfs, [task.rest for task in tasks], self.settings.alphabet)
        matrix = information.similarity_matrix(common)
        self.similarity = matrix.tolist()
        if self.threshold is None and len(matrix) >= 3:
            self.threshold = information.midpoint_threshold(matrix)
