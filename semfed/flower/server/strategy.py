"""Base of this package's strategies: Flower's `Strategy` plus a federation, checked replies and a quorum."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from logging import INFO
from typing import Any, ClassVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from pydantic import Field

from semfed.errors import FederationError
from semfed.events.metrics import Metric
from semfed.flower.arrays import Arrays as Arrays
from semfed.flower.arrays import mismatch
from semfed.flower.averaging import SummedReply, average_metrics, metrics_of
from semfed.flower.server.accounts import UNSENT
from semfed.flower.server.federation import Federation
from semfed.flower.server.replies import Replies, sentence
from semfed.flower.trial import Trial
from semfed.scenario import Scenario
from semfed.scenario.settings import StrictModel

MOST_TOLD = 5
"""How many clients with one problem, and how many problems, an error names."""


class StrategySettings(StrictModel):
    """What every strategy of this package can be told."""

    quorum: float = Field(default=0.5, gt=0, le=1)
    """Least fraction of the addressed clients that must give a usable reply; with fewer the run stops."""


def require_one_architecture(scenario: Scenario, remedy: str) -> None:
    """Refuse clients with an encoder of their own, for strategies that send all the same arrays.

    Raises
    ------
    ValueError
        If there is one; `remedy` says what else may be done about it.
    """
    for client in scenario.clients:
        if client.encoder not in (None, scenario.model.encoder):
            raise ValueError(
                f"client {client.name!r} has an encoder of its own, which cannot be averaged: remove it or {remedy}"
            )


class FederatedStrategy(Strategy):
    """A strategy over the clients of one trial.

    A strategy plugin is a subclass, found in the entry point group ``semfed.strategies``; ``Settings`` declares the
    options of the scenario's ``[strategy]`` table. Replies arrive in the order of the clients.

    Parameters
    ----------
    trial : Trial
    settings : StrategySettings

    Attributes
    ----------
    metrics : tuple of Metric
        What a class reports by `Federation.report`, beside what its bases do.
    phases : tuple of str
        Methods of a learner that training calls.
    stateless : bool
        Whether a class adds nothing to what its base keeps between rounds, beside the arrays that `aggregate_train`
        returns. Every class says so in its own body, or has `state` and `restore`; else it has no checkpoints.
    """

    Settings: type[StrategySettings] = StrategySettings
    metrics: ClassVar[tuple[Metric, ...]] = ()
    phases: ClassVar[tuple[str, ...]] = ("fit",)
    stateless: ClassVar[bool] = False

    def __init__(self, trial: Trial, settings: StrategySettings) -> None:
        self.trial = trial
        self.quorum = settings.quorum
        self.federation: Federation | None = None

    @property
    def only_averages(self) -> bool:
        """Whether `aggregate_train` takes the mean of arrays by ``num-examples`` and no other look at them.

        Then an engine may sum them where they are made; see `semfed.flower.partial_sums`.
        """
        return False

    def open(self, federation: Federation) -> None:
        """Take the clients that the strategy works with."""
        self.federation = federation
        federation.folds = self.only_averages and getattr(federation.grid, "folds", False)
        self.prepare(federation)

    def prepare(self, federation: Federation) -> None:
        """Look at the clients' properties before the first round."""

    def details(self) -> dict[str, Any]:
        """Return what the strategy found out and a report should show, as values that JSON can hold."""
        return {}

    def state(self) -> Arrays:
        """Return what a resumed run needs beside the arrays that `aggregate_train` returned last.

        Nothing, which a class has to confirm by ``stateless = True`` or a `state` of its own. Whatever changes from
        round to round and cannot be found again by `prepare` belongs here.
        """
        return {}

    def restore(self, arrays: Arrays, state: Arrays) -> None:
        """Go on from a checkpoint; called after `prepare`.

        Parameters
        ----------
        arrays : dict of str to ndarray
            What `aggregate_train` returned last, or what the clients started from if it never returned any.
        state : dict of str to ndarray
            What `state` returned.
        """

    def start(self, grid: Grid, initial_arrays: ArrayRecord, *args: Any, **kwargs: Any) -> Any:
        """Run all rounds; parameters and result as in Flower's `Strategy.start`."""
        federation = grid if isinstance(grid, Federation) else Federation(grid, self.trial)
        self.open(federation)
        return super().start(federation, initial_arrays, *args, **kwargs)

    def summary(self) -> None:
        """Log the configuration."""
        log(INFO, "\t├──> Arm: %s, seed %d", self.trial.arm, self.trial.seed)
        log(INFO, "\t└──> Quorum: %.2f", self.quorum)

    def message(
        self,
        client: int,
        message_type: str,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
        *,
        unsent: ConfigRecord | None = None,
    ) -> Message:
        """Make a message for one client, with Flower's record names and ``server-round`` in the config."""
        return self.messages([client], message_type, server_round, arrays, config, unsent=unsent)[0]

    def messages(
        self,
        clients: Iterable[int],
        message_type: str,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
        *,
        unsent: ConfigRecord | None = None,
    ) -> list[Message]:
        """Make messages for clients that get the same; they share their content.

        `unsent` names what of them and of their replies only the simulation sends; see `semfed.flower.server.accounts`.
        """
        own = ConfigRecord({**config, "server-round": server_round})
        content = RecordDict({"arrays": arrays, "config": own})
        if unsent is not None:
            content[UNSENT] = unsent
        return [Message(content, client, message_type, group_id=str(server_round)) for client in clients]

    def usable(
        self,
        server_round: int,
        replies: Iterable[Message],
        expected: ArrayRecord | None = None,
        *,
        check: Callable[[Message], str | None] | None = None,
    ) -> Replies:
        """Pass on the replies that can be used and, after the last one, insist on the quorum.

        Parameters
        ----------
        server_round : int
        replies : iterable of Message
            As the federation gave them; of any others see `Replies.of`.
        expected : ArrayRecord, optional
            Every reply must have arrays of these names, shapes and dtypes, all finite.
        check : callable, optional
            Says what else is wrong with a reply, None if nothing is.

        Returns
        -------
        Replies
            Those that can be used, in the order of the clients, with the places of all that were asked.

        Raises
        ------
        FederationError
            While they are used up, if fewer than the quorum are usable; it names the others and their reasons.
        """
        exchange = Replies.of(replies)
        return exchange.only(self._usable(server_round, exchange, expected, check))

    def _usable(
        self,
        server_round: int,
        replies: Replies,
        expected: ArrayRecord | None,
        check: Callable[[Message], str | None] | None,
    ) -> Iterator[Message]:
        federation = self._opened()
        good, bad = 0, dict[str, str]()
        for reply in replies:
            client = reply.metadata.src_node_id
            if reply.has_error():
                bad[federation.name(client)] = sentence(reply.error)
                continue
            problem, received = None, reply.content.get("arrays")
            if expected is not None and not isinstance(received, SummedReply):  # who folds has checked
                problem = mismatch(received, expected)
            if problem is None and check is not None:
                problem = check(reply)
            if problem is None:
                good += 1
                yield reply
            else:
                federation.reject(client, reply.metadata.message_type, problem)
                bad[federation.name(client)] = problem
        self.require_quorum(server_round, good, replies.total, bad)

    def require_quorum(self, server_round: int, good: int, total: int, bad: Mapping[str, str]) -> None:
        """Stop the run if too few of the addressed clients are left; `bad` has the others' names, with the reasons."""
        needed = max(1, math.ceil(self.quorum * total))
        if good < needed:
            raise FederationError(
                f"round {server_round}: {good} of {total} clients gave a usable reply and the quorum is {needed}; "
                f"without one: {_by_reason(bad) or 'all'}"
            )

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Average the clients' metrics, weighted by their test samples; per-client values go to the history.

        None if nobody was asked, as with ``fraction_evaluate = 0``: a client that was asked has a reply in any case.
        """
        exchange = Replies.of(replies)
        if not exchange.total:
            return None
        good = self.usable(server_round, exchange)
        return average_metrics(metrics_of(good))

    def deployed(self, server_round: int, arrays: ArrayRecord, grid: Grid) -> Iterable[Message]:
        """Return messages with what every client would have after a round if it were the last; nobody is sent them.

        They are those of `configure_evaluate` unless a class says otherwise. A client without one is left out: its
        networks are not kept.
        """
        return self.configure_evaluate(server_round, arrays, ConfigRecord(), grid)

    def _opened(self) -> Federation:
        if self.federation is None:
            raise FederationError("a strategy has no clients before start() is called")
        return self.federation


def _by_reason(reasons: Mapping[str, str]) -> str:
    """Tell names with their reasons, those of one reason together; a few of each, for there may be thousands."""
    names = defaultdict[str, list[str]](list)
    for name, reason in reasons.items():
        names[reason].append(repr(name))
    return _a_few([f"{_a_few(own)} ({reason})" for reason, own in names.items()])


def _a_few(items: Sequence[str]) -> str:
    left = len(items) - MOST_TOLD
    return ", ".join(items[:MOST_TOLD]) + (f" and {left} more" if left > 0 else "")
