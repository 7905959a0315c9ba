"""Strategies with one set of arrays for everybody: all that is left to say is how replies become the next one."""

from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from pydantic import Field

from semfed import seeding
from semfed.errors import FederationError
from semfed.flower import arrays as wire
from semfed.flower.arrays import Arrays
from semfed.flower.averaging import average_metrics, metrics_of
from semfed.flower.server.accounts import ALL, unsent
from semfed.flower.server.replies import Replies
from semfed.flower.server.strategy import FederatedStrategy, StrategySettings, require_one_architecture
from semfed.flower.trial import Trial
from semfed.scenario import Scenario


class BroadcastStrategy(FederatedStrategy):
    """Sends the round's clients the same arrays and makes the next ones of their replies: a subclass says how.

    Who is sampled depends on the seed and the round alone, not on the arm and not on the engine.

    Parameters
    ----------
    trial : Trial
    settings : BroadcastStrategy.Settings
    """

    class Settings(StrategySettings):
        """How many clients take part in a round; fractions are named as in Flower."""

        fraction_train: float = Field(default=1.0, gt=0, le=1)
        """Share of the clients, at least one of them, that train in a round; who it is is drawn anew every round."""
        fraction_evaluate: float = Field(default=1.0, ge=0, le=1)
        """Share of the clients that test after a round; 0 for no test at all."""

        def check(self, scenario: Scenario) -> None:
            """Refuse clients of different architectures."""
            require_one_architecture(scenario, "use a strategy that lets clients differ, such as 'fedproto'")

    def __init__(self, trial: Trial, settings: Settings) -> None:
        super().__init__(trial, settings)
        self.settings: Any = settings
        self._sent = ArrayRecord()

    @abstractmethod
    def aggregate(self, replies: Replies) -> Arrays:
        """Make the next arrays, named like those that were sent.

        Parameters
        ----------
        replies : Replies
            The usable ones, in the order of the clients, checked: the names, shapes and dtypes of what was sent, all
            finite. `Replies.updates` and `Replies.stacked` give their arrays.
        """

    @property
    def sent(self) -> Arrays:
        """What the round's clients were sent, by name: where `aggregate` starts from, if it takes a step."""
        return wire.views(self._sent)

    def train_config(self, server_round: int) -> dict[str, Any]:
        """Return what the config of a round's ``train`` messages holds beside Flower's own entries."""
        return {}

    def model(self, arrays: ArrayRecord) -> ArrayRecord:
        """Return what of the current arrays is sent."""
        return arrays

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the round's clients the current arrays."""
        clients = self._sample(self.settings.fraction_train, "sampling", server_round)
        own = ConfigRecord({**config, **self.train_config(server_round)})
        return self._broadcast(clients, "train", server_round, arrays, own)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the new arrays to those who test them."""
        clients = self._sample(self.settings.fraction_evaluate, "evaluation-sampling", server_round)
        return self._broadcast(clients, "evaluate", server_round, arrays, config)

    def deployed(self, server_round: int, arrays: ArrayRecord, grid: Grid) -> Iterable[Message]:
        """Return the arrays for every client, whoever tests them."""
        return self._broadcast(
            range(len(self.trial.scenario.clients)), "evaluate", server_round, arrays, ConfigRecord()
        )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Make the next arrays, in the dtypes of those that were sent, and average the metrics.

        Raises
        ------
        FederationError
            If `aggregate` returns no mapping, or arrays of other names.
        """
        told: list[MetricRecord] = []
        good = self.usable(server_round, replies, expected=self._sent)
        noted = good.only(_note_metrics(good, told))
        made = self.aggregate(noted)
        deque(noted, maxlen=0)  # the quorum is counted when the last one has been used up
        if not isinstance(made, Mapping):
            raise FederationError(
                f"{type(self).__name__}.aggregate returned {type(made).__name__} instead of a dict: return an array "
                "for every name that was sent"
            )
        if list(made) != list(self._sent):
            raise FederationError(
                f"{type(self).__name__}.aggregate returned the arrays {list(made)} instead of {list(self._sent)}: "
                "give them the names of those that were sent"
            )
        return wire.record({name: _like(array, self._sent[name].numpy().dtype) for name, array in made.items()}), (
            average_metrics(told)
        )

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
        self._sent = self.model(arrays)
        alone = len(self.trial.scenario.clients) == 1
        apart = unsent(down=[ALL], up=[ALL]) if alone else None
        return self.messages(clients, message_type, server_round, self._sent, config, unsent=apart)


def _note_metrics(replies: Replies, told: list[MetricRecord]) -> Iterator[Message]:
    for reply in replies:
        told += metrics_of([reply])
        yield reply


def _like(array: Any, dtype: np.dtype[Any]) -> Any:
    """Return an array in a dtype; integers are rounded, such as counters of batches."""
    return np.asarray(np.round(array) if np.issubdtype(dtype, np.integer) else array, dtype=dtype)
