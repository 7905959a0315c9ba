"""Base of this package's strategies: Flower's `Strategy` plus a federation, checked replies and a quorum."""

import math
from collections.abc import Callable, Iterable, Sequence
from logging import INFO
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords
from pydantic import Field

from semfed.errors import FederationError
from semfed.flower.experiment import Experiment
from semfed.flower.federation import Federation, sentence
from semfed.settings import StrictModel

Arrays = dict[str, npt.NDArray[Any]]


class StrategySettings(StrictModel):
    """What every strategy of this package can be told."""

    quorum: float = Field(default=0.5, gt=0, le=1)
    """Least fraction of the addressed clients that must give a usable reply; with fewer the run stops."""


class FederatedStrategy(Strategy):
    """A strategy over the clients of one experiment.

    A strategy plugin is a subclass, found in the entry point group ``semfed.strategies``; ``Settings`` declares the
    options of the scenario's ``[strategy]`` table. Replies arrive in the order of the clients.

    Parameters
    ----------
    experiment : Experiment
    settings : StrategySettings
    """

    Settings: type[StrategySettings] = StrategySettings

    def __init__(self, experiment: Experiment, settings: StrategySettings) -> None:
        self.experiment = experiment
        self.quorum = settings.quorum
        self.federation: Federation | None = None

    def prepare(self, federation: Federation) -> None:
        """Look at the clients' properties before the first round."""

    def details(self) -> dict[str, Any]:
        """Return what the strategy found out and a report should show, as values that JSON can hold."""
        return {}

    def start(self, grid: Grid, initial_arrays: ArrayRecord, *args: Any, **kwargs: Any) -> Any:
        """Run all rounds; parameters and result as in Flower's `Strategy.start`."""
        self.federation = grid if isinstance(grid, Federation) else Federation(grid, self.experiment)
        self.prepare(self.federation)
        return super().start(self.federation, initial_arrays, *args, **kwargs)

    def summary(self) -> None:
        """Log the configuration."""
        log(INFO, "\t├──> Arm: %s, seed %d", self.experiment.arm, self.experiment.seed)
        log(INFO, "\t└──> Quorum: %.2f", self.quorum)

    def message(
        self, client: int, message_type: str, server_round: int, arrays: ArrayRecord, config: ConfigRecord
    ) -> Message:
        """Make a message for one client, with Flower's record names and ``server-round`` in the config."""
        own = ConfigRecord({**config, "server-round": server_round})
        return Message(RecordDict({"arrays": arrays, "config": own}), client, message_type, group_id=str(server_round))

    def usable(
        self,
        server_round: int,
        replies: Iterable[Message],
        expected: ArrayRecord | None = None,
        *,
        check: Callable[[Message], str | None] | None = None,
    ) -> list[Message]:
        """Keep the replies that can be used and insist on the quorum.

        Parameters
        ----------
        server_round : int
        replies : iterable of Message
            As the federation gave them.
        expected : ArrayRecord, optional
            Every reply must have arrays of these names, shapes and dtypes, all finite.
        check : callable, optional
            Says what else is wrong with a reply, None if nothing is.

        Returns
        -------
        list of Message
            In the order of the clients.

        Raises
        ------
        FederationError
            If fewer than the quorum are usable; it names the others and their reasons.
        """
        federation = self._opened()
        good, bad, total = [], [], 0
        for reply in replies:
            total += 1
            client = reply.metadata.src_node_id
            if reply.has_error():
                bad.append(f"{federation.name(client)!r} ({sentence(reply.error)})")
                continue
            problem = None if expected is None else mismatch(reply.content.get("arrays"), expected)
            if problem is None and check is not None:
                problem = check(reply)
            if problem is None:
                good.append(reply)
            else:
                federation.reject(client, reply.metadata.message_type, problem)
                bad.append(f"{federation.name(client)!r} ({problem})")
        self.require_quorum(server_round, len(good), total, bad)
        return good

    def require_quorum(self, server_round: int, good: int, total: int, bad: Sequence[str]) -> None:
        """Stop the run if too few of the addressed clients are left; `bad` names the others."""
        needed = max(1, math.ceil(self.quorum * total))
        if good < needed:
            raise FederationError(
                f"round {server_round}: {good} of {total} clients gave a usable reply and the quorum is {needed}; "
                f"without one: {', '.join(bad) or 'all'}"
            )

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Average the clients' metrics, weighted by their test samples; per-client values go to the history."""
        good = self.usable(server_round, replies)
        return aggregate_metricrecords([reply.content for reply in good], "num-examples")

    def _opened(self) -> Federation:
        if self.federation is None:
            raise FederationError("a strategy has no clients before start() is called")
        return self.federation


def mismatch(received: Any, expected: ArrayRecord) -> str | None:
    """Say what is wrong with an update, None if nothing is.

    Names, shapes, dtypes and finiteness are checked, in that order.
    """
    if not isinstance(received, ArrayRecord):
        return "the reply has no arrays"
    if list(received) != list(expected):
        return f"arrays {list(received)} instead of {list(expected)}"
    for name, array in received.items():
        wanted = expected[name]
        if tuple(array.shape) != tuple(wanted.shape) or array.dtype != wanted.dtype:
            return f"array {name!r} is {array.dtype}{list(array.shape)}, not {wanted.dtype}{list(wanted.shape)}"
        try:
            values = array.numpy()
        except ValueError:
            return f"array {name!r} is not what it says, or a pickle"
        if not np.isfinite(values).all():
            return f"array {name!r} has values that are not finite"
    return None


def average_replies(replies: Sequence[Message], *, weighted: bool) -> ArrayRecord:
    """Average the arrays of replies, equally or by their ``num-examples``; see `mean_arrays`."""
    contents = [reply.content for reply in replies]
    updates = [{k: a.numpy() for k, a in content.array_records["arrays"].items()} for content in contents]
    samples = [float(str(content.metric_records["metrics"]["num-examples"])) for content in contents]
    mean = mean_arrays(updates, samples if weighted else [1.0] * len(contents))
    return ArrayRecord({name: Array(value) for name, value in mean.items()})


def mean_arrays(updates: Sequence[Arrays], weights: Sequence[float]) -> Arrays:
    """Weighted mean of equally named arrays, summed in the order given.

    Parameters
    ----------
    updates : sequence of dict of str to ndarray
        At least one; floating-point arrays are averaged in float64 and rounded back, integer arrays rounded.
    weights : sequence of float
        Not all zero; scaled to sum 1.
    """
    if len(updates) == 1:
        return dict(updates[0])
    total = float(sum(weights))
    means: Arrays = {}
    for name, first in updates[0].items():
        acc = np.zeros(first.shape, dtype=np.float64)
        for update, weight in zip(updates, weights, strict=True):
            acc += (weight / total) * update[name]
        rounded = np.round(acc) if np.issubdtype(first.dtype, np.integer) else acc
        means[name] = np.asarray(rounded, dtype=first.dtype)  # NumPy makes scalars of arrays without axes
    return means
