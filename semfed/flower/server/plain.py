"""Our strategies over anybody's message-API ``ClientApp``, in anybody's ``ServerApp``.

What travels is what Flower's own strategies send, and nothing else:

- to a client, types ``train`` and ``evaluate``: an ArrayRecord ``arrays`` and a ConfigRecord ``config`` with
  ``server-round``, and with what a strategy adds, such as ``proximal-mu``;
- back from ``train``: ``arrays`` with the same names, shapes and dtypes, all finite, and a MetricRecord ``metrics`` of
  numbers, with ``num-examples`` above 0; from ``evaluate`` ``metrics`` alone.

There is no scenario, so there are no run folder, no accounts and no resuming: Flower's ``Result`` is what comes out.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from logging import WARNING
from types import SimpleNamespace
from typing import Any, cast

from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common import log
from flwr.serverapp import Grid
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from semfed.errors import FederationError, ScenarioError
from semfed.flower.averaging import WEIGHT
from semfed.flower.compat import CLIENT_RAISED
from semfed.flower.protocol import OPEN
from semfed.flower.server.accounts import UNSENT
from semfed.flower.server.exchange import POLL_S, Envelope, Exchange
from semfed.flower.server.federation import Federation
from semfed.flower.server.outer_grid import OuterGrid
from semfed.flower.server.replies import Replies, in_order, places_of, sentence
from semfed.flower.server.strategy import FederatedStrategy
from semfed.flower.trial import Trial
from semfed.scenario import ClientSpec, Scenario, Task
from semfed.scenario.plugins import parse
from semfed.scenario.settings import explain

NODE = "node"
"""ConfigRecord of a reply to ``query``: ``partition-id``, and what else a strategy may want to know of the client."""
APP = "a plain ClientApp"


class PlainFederation(Federation):
    """The nodes of a grid as clients 0 .. K-1 of this package's strategies, without a scenario.

    Parameters
    ----------
    grid : Grid
        Of the ``ServerApp``.
    clients : int or mapping of str to str
        How many nodes to wait for, each of which is a client; or the clients' names with the names of their tasks.
    tasks : mapping of str to table, optional
        As in a scenario, for strategies that compare tasks.
    seed : int, default 0
        Of all that strategies draw, such as the clients of a round.
    numbered : bool, default False
        Whether clients answer a ``query`` with a ConfigRecord ``node`` that has their ``partition-id``. Then they are
        in that order, and equal runs have equal numbers; else in the order of node ids, which are new in every run.
        What else the record holds is what strategies may look at, such as ``pmf/<value>``.
    timeout : float, default 120
        Seconds to wait for the nodes.

    Attributes
    ----------
    failures : list of (str, str, str)
        Client, message type and reason of all that could not be used.
    reported : list of (str, float, int or None)
        What strategies found: metric, value and client.

    Raises
    ------
    FederationError
        If there are other nodes than clients, or they do not say which they are.
    ScenarioError
        If a task is none, or a client has none of them.
    """

    def __init__(
        self,
        grid: Grid,
        clients: int | Mapping[str, str],
        *,
        tasks: Mapping[str, Mapping[str, Any]] | None = None,
        seed: int = 0,
        numbered: bool = False,
        timeout: float = 120.0,
    ) -> None:
        OuterGrid.__init__(self, grid)  # no trial is opened on nodes
        self.trial = Trial(cast(Scenario, _PlainScenario(clients, tasks or {})), "plain", seed)
        self.folds = False
        self.failures: list[tuple[str, str, str]] = []
        self.reported: list[tuple[str, float, int | None]] = []
        nodes = _find(self.grid, len(self.trial.scenario.clients), timeout)
        self.properties = {client: dict[str, Any]() for client in range(len(nodes))}
        if numbered:
            told = _numbers(self.grid, nodes, timeout)
            nodes = sorted(nodes, key=lambda node: int(told[node]["partition-id"]))
            self.properties = {client: told[node] for client, node in enumerate(nodes)}
        self.exchange = Exchange(self.grid, dict(enumerate(nodes)))

    def strategy(self, choice: str | Mapping[str, Any]) -> FederatedStrategy:
        """Make a strategy for these clients, to be started with this federation as its grid.

        Parameters
        ----------
        choice : str or mapping
            Its name, or a table with ``name`` and settings, as in a scenario.

        Raises
        ------
        ScenarioError
            If it is none of this package's kind, or cannot work with clients that are known by their messages alone.
        """
        try:
            plugin = parse("strategies", dict(choice) if isinstance(choice, Mapping) else choice)
        except (ValidationError, PydanticCustomError) as error:
            raise ScenarioError(explain(error) if isinstance(error, ValidationError) else error.message()) from error
        kind = plugin.load()
        if not (isinstance(kind, type) and issubclass(kind, FederatedStrategy)):
            raise ScenarioError(
                f"strategy {plugin.name!r} is Flower's own, which takes any ClientApp: start it with Flower's grid"
            )
        if kind.phases != FederatedStrategy.phases:
            raise ScenarioError(
                f"strategy {plugin.name!r} trains by {kind.phases[0]!r}, which {APP} does not know: take one that "
                "trains by 'train' alone, such as 'fedavg'"
            )
        try:
            getattr(plugin.settings, "check", lambda scenario: None)(self.trial.scenario)
        except ValueError as error:
            raise ScenarioError(str(error)) from error
        return kind(self.trial, plugin.settings)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Replies:
        """Send messages to clients and give their replies in the order of the clients; see `Federation`.

        A reply that breaks the contract becomes an error that says how.
        """
        envelopes = {message.metadata.dst_node_id: Envelope(_without_accounts(message), {}) for message in messages}
        places = places_of(envelopes)
        return Replies(places, self._read_all(places, envelopes, timeout))

    def reject(self, client: int, phase: str, reason: str) -> None:
        """Note that a reply is missing or cannot be used; the strategy's quorum says whether that ends the run."""
        self.failures.append((self.name(client), phase, reason))
        log(WARNING, "client %r failed in %r: %s", self.name(client), phase, reason)

    def report(self, metric: str, value: float, client: int | None = None) -> None:
        """Keep a number that the strategy itself found, in `reported`."""
        self.reported.append((metric, value, client))

    def _read_all(
        self, places: Iterable[int], envelopes: Mapping[int, Envelope], timeout: float | None
    ) -> Iterator[Message]:
        for client, reply in in_order(places, self.exchange.ask(envelopes, timeout)):
            problem = sentence(reply.error) if reply.has_error() else problem_of(reply.content)
            if problem is not None:
                self.reject(client, reply.metadata.message_type, problem)
                reply = Message(Error(CLIENT_RAISED, problem), reply_to=envelopes[client].message)
            yield reply


def problem_of(content: RecordDict) -> str | None:
    """Say how a reply breaks the contract of its metrics, None if it does not; arrays are the strategies' to check."""
    metrics = content.get("metrics")
    if not isinstance(metrics, MetricRecord):
        return "the reply has no MetricRecord 'metrics'"
    listed = [name for name, value in metrics.items() if isinstance(value, list)]
    if listed:
        return f"metric {listed[0]!r} is a list, which has no mean: put it into a ConfigRecord"
    weight = metrics.get(WEIGHT)
    if not isinstance(weight, int | float) or not 0 < weight < math.inf:
        return f"metric {WEIGHT!r} is {weight!r}: give a number above 0, by which the reply is weighted"
    return None


def _without_accounts(message: Message) -> Message:
    """Return a message without what only the accounts of a scenario read."""
    about = message.metadata
    kept = RecordDict({name: record for name, record in message.content.items() if name != UNSENT})
    return Message(kept, about.dst_node_id, about.message_type, group_id=about.group_id, ttl=about.ttl)


class _PlainScenario:
    """What strategies ask of a scenario: its clients and, where there are any, their tasks."""

    def __init__(self, clients: int | Mapping[str, str], tasks: Mapping[str, Mapping[str, Any]]) -> None:
        named = {f"client {k + 1}": "" for k in range(clients)} if isinstance(clients, int) else clients
        self.tasks = {name: _task(name, table) for name, table in tasks.items()}
        if not tasks:  # nobody tells anything of it
            self.tasks[""] = Task(values=("some",), rest="other")
        for name, task in named.items():
            if task not in self.tasks:
                raise ScenarioError(f"client {name!r} has the unknown task {task!r}: give tasks a table {task!r}")
        if not named:
            raise ScenarioError(f"clients = {clients!r}: give their number, at least 1, or names with tasks")
        self.clients = tuple(ClientSpec(name=name, task=task) for name, task in named.items())
        self.learner = SimpleNamespace(name=APP, settings=None, load=lambda: None)
        self.model = SimpleNamespace(encoder=None)

    def __getattr__(self, name: str) -> Any:
        raise ScenarioError(
            f"the strategy asks for the scenario's {name!r}, but {APP} has no scenario: take another strategy"
        )


def _task(name: str, table: Mapping[str, Any]) -> Task:
    try:
        return Task.model_validate(dict(table))
    except ValidationError as error:
        raise ScenarioError(f"tasks.{name}: {explain(error)}") from error


def _find(grid: Grid, count: int, timeout: float) -> list[int]:
    """Wait until as many nodes as clients are there; return their ids in ascending order."""
    deadline = time.monotonic() + timeout
    while len(nodes := sorted(grid.get_node_ids())) < count:
        if time.monotonic() >= deadline:
            raise FederationError(
                f"{len(nodes)} of {count} nodes are here after {timeout:g} s: start the missing SuperNodes, or give "
                "fewer clients"
            )
        time.sleep(POLL_S)
    if len(nodes) > count:
        raise FederationError(f"there are {len(nodes)} nodes for {count} clients: give clients = {len(nodes)}")
    return nodes


def _numbers(grid: Grid, nodes: list[int], timeout: float) -> dict[int, dict[str, Any]]:
    """Return what every node tells of itself."""
    sent = [Message(RecordDict(), node, OPEN, group_id="0") for node in nodes]
    replies = {reply.metadata.reply_to_message_id: reply for reply in grid.send_and_receive(sent, timeout=timeout)}
    told: dict[int, dict[str, Any]] = {}
    for node, message in zip(nodes, sent, strict=True):
        reply = replies.get(message.metadata.message_id)
        about = None if reply is None or reply.has_error() else reply.content.get(NODE)
        if not isinstance(about, ConfigRecord) or not isinstance(about.get("partition-id"), int):
            why = sentence(reply.error) if reply is not None and reply.has_error() else "it does not say so"
            raise FederationError(
                f"numbered = True, but node {node} does not answer a query with a ConfigRecord {NODE!r} that has its "
                f"'partition-id' ({why}): give the ClientApp a query() that does, or leave numbered out"
            )
        told[node] = dict(about)
    numbers = [about["partition-id"] for about in told.values()]
    if len(set(numbers)) < len(numbers):
        raise FederationError(f"two nodes have one partition-id among {sorted(numbers)}: give every SuperNode its own")
    return told
