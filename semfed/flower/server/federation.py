"""The clients of one trial as a strategy sees them: a Flower ``Grid`` whose node ids are client indices.

It stands between any strategy, a stock one of Flower's too, and the engine's grid: it finds out by one query which
node hosts which client, sends a client's messages there, gives replies back in the order of the clients (so that
sums do not depend on who answered first), says who did not answer and why, and accounts every byte and channel use.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy.typing as npt
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from semfed.algorithms import privacy
from semfed.checkpoint import StateRef
from semfed.errors import EngineError, FederationError, SemfedError
from semfed.events.callbacks import ExchangeProgress
from semfed.events.metrics import declared_in
from semfed.events.records import Record
from semfed.flower import arrays as wire
from semfed.flower.client.app import STATE
from semfed.flower.client.base import check_config
from semfed.flower.client.state_store import marks_to_json
from semfed.flower.partial_sums import PLACE
from semfed.flower.server.accounts import ACCOUNTED, Accounts, Bill
from semfed.flower.server.exchange import POLL_S, Exchange
from semfed.flower.server.ledger import KEEP, Ledger
from semfed.flower.server.replies import Replies, places_of
from semfed.flower.trial import Trial

DEAD_WORKER = "ActorDiedError"
"""Flower's simulation leaves a dead Ray actor in its pool, where it fails at once whatever it is given."""


class Federation(Grid):
    """A grid of clients 0 .. K-1.

    Parameters
    ----------
    grid : Grid
        What the engine provides; its nodes may be fewer than the clients, then a node hosts several.
    trial : Trial
    timeout : float
        Seconds to wait for nodes and for their answers to the opening query.
    run : str
        Name of the run for checkpoints; empty without any.
    marks : mapping of int to StateRef, optional
        Client states that the nodes are to go on from.

    Attributes
    ----------
    properties : dict of int to dict
        What every client's ``get_properties`` answered.
    samples : dict of int to dict of str to ndarray
        Arrays that a client showed when it was evaluated last.
    watch : callable
        Gets the `ExchangeProgress` of every exchange as it begins.
    hear : callable
        Gets client, phase, round and text of every error that a client answers with, retried ones too.
    folds : bool
        Whether the engine may sum the arrays of replies to ``train`` messages; see `semfed.flower.partial_sums`.
    initial_arrays : ArrayRecord
        What the first client proposes to start from; it is the same at every client of a seed.

    Raises
    ------
    FederationError
        If nodes are missing or do not answer.
    SemfedError
        If a client says that it cannot take part, in its own words.
    """

    def __init__(
        self,
        grid: Grid,
        trial: Trial,
        *,
        timeout: float = 3600.0,
        run: str = "",
        marks: Mapping[int, StateRef] | None = None,
    ) -> None:
        self.grid = grid
        self.trial = trial
        self.ledger = Ledger(run, marks)
        self.keeps = bool(run)
        self.properties: dict[int, dict[str, Any]] = {}
        self.samples: dict[int, dict[str, npt.NDArray[Any]]] = {}
        self.initial_arrays = ArrayRecord()
        self.watch: Callable[[ExchangeProgress], None] = lambda tally: None
        self.hear: Callable[[int, str, str, str], None] = lambda client, phase, round_, text: None
        self.folds = False
        self._host: dict[int, int] = {}
        self._exchange = Exchange(grid, self._host)
        self._retried: list[tuple[int, str, str]] = []
        self._metrics: list[tuple[int, str, float]] = []
        self._reported: list[tuple[str, float]] = []
        self._failures: list[tuple[int, str, str]] = []
        self._accounts = Accounts(trial)
        self._declared = declared_in(trial.scenario)
        self._learner, self._strategy = (part.load() for part in (trial.scenario.learner, trial.scenario.strategy))
        self._open(timeout)

    # -- what strategies use ------------------------------------------------------------------------------

    def get_node_ids(self) -> Iterable[int]:
        """Return the client indices."""
        return list(range(len(self.trial.scenario.clients)))

    def name(self, client: int) -> str:
        """Return a client's name in the scenario."""
        return self.trial.scenario.clients[client].name

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Replies:
        """Send messages to clients and give their replies as they come in, in the order of the clients.

        Replies can be used up one by one, so that an aggregation over many clients needs the memory of a few.

        Parameters
        ----------
        messages : iterable of Message
            Their ``dst_node_id`` is a client index; at most one per client.
        timeout : float, optional
            Seconds for all of them together, from the moment that the first reply is wanted.

        Returns
        -------
        Replies
            One per message, in the order of client indices; ``src_node_id`` is the client index. A client that
            raised, or did not answer in time, has an error reply, after as many retries as the scenario says.

        Raises
        ------
        FederationError
            If a client has two messages; or, while replies are used up, if the scenario has ``on_client_failure =
            "fail"`` and a client failed.
        EngineError
            While replies are used up, if a worker process of Flower's simulation died.
        """
        addressed: dict[int, Message] = {}
        for message in messages:
            client = message.metadata.dst_node_id
            if client in addressed:
                raise FederationError(f"client {self.name(client)!r} has two messages in one exchange: send it one")
            addressed[client] = message
        self._require_known(addressed)
        for content in {id(message.content): message.content for message in addressed.values()}.values():
            wire.give_dtypes(content, self.initial_arrays)
        places, tally = places_of(addressed), ExchangeProgress(len(addressed))
        self.watch(tally)
        return Replies(places, self._replies(addressed, places, tally, timeout), tally)

    def reject(self, client: int, phase: str, reason: str) -> None:
        """Note that a reply is missing, or that one came but could not be used.

        Raises
        ------
        FederationError
            If the scenario has ``on_client_failure = "fail"``.
        """
        self._failures.append((client, phase, reason))
        if self.trial.scenario.on_client_failure == "fail":
            raise FederationError(f"client {self.name(client)!r} failed in {phase!r}: {reason}")

    def report(self, metric: str, value: float, client: int | None = None) -> None:
        """Record a number that the strategy itself found: of all together, or of a client, as if it had told it.

        Raises
        ------
        FederationError
            If neither the strategy nor the learner declares it.
        """
        role = self._declared.require(metric, self._strategy).role
        if client is None:
            self._reported.append((metric, value))
        elif role == "cost":
            self._accounts.add(client, metric, value)
        else:
            self._metrics.append((client, metric, value))

    def keep(self) -> bool:
        """Let all nodes keep the states of clients that have answered in the round that is due.

        Returns
        -------
        bool
            Whether a checkpoint of this round would be whole; who prevents it is recorded as a failure.
        """
        for client in self._exchange.late:  # nobody used its reply, but its state has changed
            self.ledger.note(client, None)
        self._exchange.late.clear()
        asked = {k: self.create_message(RecordDict(), KEEP, k, str(self.ledger.due)) for k in self.ledger.unkept}
        replies = self._exchange.ask(asked, self._address, self.trial.scenario.timeout_s)
        for client, reply in sorted(dict(replies).items()):
            if reply.has_error():
                self._failures.append((client, "checkpoint", sentence(reply.error)))
            else:
                self._note_kept(client, reply)
        return not self.ledger.unkept

    def take_records(self, round_: int) -> list[Record]:
        """Return what has been measured since the last call, as the records of a round."""
        arm, seed, clients = self.trial.arm, self.trial.seed, self.trial.scenario.clients

        def record(client: int | None, metric: str, value: float, note: str | None = None) -> Record:
            name = None if client is None else clients[client].name
            return Record(arm, seed, round_, name, metric, float(value), note)

        records = [record(c, f"retry/{phase}", 1.0, note) for c, phase, note in self._retried]
        records += [record(c, f"failure/{phase}", 1.0, note) for c, phase, note in self._failures]
        sums: defaultdict[str, list[float]] = defaultdict(list)
        for client, name, value in self._metrics:
            if "/" in name:
                records.append(record(client, name, value))
            else:
                sums[name].append(value)
                records.append(record(client, f"{name}/{clients[client].task}", value))
        for name, values in sums.items():
            metric = self._declared.of(name)
            if metric.whole is not None:
                records.append(record(None, f"{name}/{metric.whole}", metric.over(values)))
        records += [record(*cost) for cost in self._accounts.take_records()]
        records += [record(None, name, value) for name, value in self._reported]
        private = self.trial.scenario.privacy.updates
        if private is not None:
            records.append(record(None, "privacy/epsilon", privacy.spent(private, round_)))
        self._metrics, self._failures, self._reported, self._retried = [], [], [], []
        return records

    # -- the rest of Flower's interface -------------------------------------------------------------------

    def set_run(self, run: Any) -> None:
        """Pass on to the engine's grid."""
        self.grid.set_run(run)

    @property
    def run(self) -> Any:
        """The engine's run."""
        return self.grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message for a client."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not offered: a federation answers for order and accounts, which needs whole exchanges."""
        raise NotImplementedError("use send_and_receive on a Federation")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not offered; see `push_messages`."""
        raise NotImplementedError("use send_and_receive on a Federation")

    # -- inside -------------------------------------------------------------------------------------------

    def _replies(
        self,
        addressed: Mapping[int, Message],
        places: Mapping[int, int],
        tally: ExchangeProgress,
        timeout: float | None,
    ) -> Iterator[Message]:
        """Exchange messages and put the replies in order; see `send_and_receive`."""
        bill = self._accounts.bill(len(places))
        address = partial(self._address_and_account, places, bill)
        scenario, order, ready = self.trial.scenario, deque(places), dict[int, Message]()
        asked, retries = addressed, scenario.retries if scenario.on_client_failure == "retry" else 0
        for attempt in range(1 + retries):
            failed: dict[int, Message] = {}
            for client, reply in self._exchange.ask(asked, address, timeout, patient=attempt > 0):
                if reply.has_error():
                    about = reply.metadata
                    self.hear(client, about.message_type, about.group_id, reply.error.reason or "")
                if reply.has_error() and attempt < retries and DEAD_WORKER not in (reply.error.reason or ""):
                    failed[client] = reply
                    continue
                ready[client] = reply
                while order and order[0] in ready:
                    first = ready.pop(order.popleft())
                    tally.answered += 1
                    self._take_note(bill, addressed[first.metadata.src_node_id], first)
                    yield first
            asked = {client: addressed[client] for client in sorted(failed)}
            self._retried += [(k, failed[k].metadata.message_type, sentence(failed[k].error)) for k in asked]
            if not asked:
                break

    def _require_known(self, messages: Mapping[int, Message]) -> None:
        """Refuse, before anybody trains, what the clients would ignore; messages of one exchange share a config."""
        scenario = self.trial.scenario
        learner = scenario.learner.load()
        configs = {id(m.content.get("config")): m for m in messages.values()}
        for message in configs.values():
            config = message.content.get("config", ConfigRecord())
            check_config(learner, message.metadata.message_type, config, scenario.strategy.name)

    def _address(self, client: int, message: Message) -> ConfigRecord:
        """Make the adapter's record of a message that goes out."""
        return ConfigRecord({"client": client, **self.ledger.order(client, message.metadata.message_type)})

    def _address_and_account(
        self, places: Mapping[int, int], bill: Bill, client: int, message: Message
    ) -> ConfigRecord:
        """Do the same for a message of a strategy, with its place, and charge it."""
        record = self._address(client, message)
        bill.sent(client, message)
        if self.folds and message.metadata.message_type == "train":
            record[PLACE] = [places[client], len(places)]
        return record

    def _require_living_worker(self, client: int, error: Error) -> None:
        if DEAD_WORKER in (error.reason or ""):
            raise EngineError(
                f"a worker process of Flower's simulation died while it served {self.name(client)!r}; Flower does "
                "not replace it: look for a crash or too little memory, or use --engine ray, which does"
            )

    def _note_kept(self, client: int, reply: Message) -> None:
        """Take the adapter's record out of a reply, which says what the node keeps."""
        answer = reply.content.pop(STATE, None)
        problem = self.ledger.note(client, answer if isinstance(answer, ConfigRecord) else None)
        if problem is not None:
            self._failures.append((client, "checkpoint", problem))

    def _take_note(self, bill: Bill, message: Message, reply: Message) -> None:
        client, phase = reply.metadata.src_node_id, reply.metadata.message_type
        if reply.has_error():
            # In the order of the clients: whoever gets the dead worker next fails, too, and may be heard of first.
            self._require_living_worker(client, reply.error)
            self.reject(client, phase, sentence(reply.error))
            return
        self._note_kept(client, reply)
        bill.answered(client, message, reply)
        for record in reply.content.values():
            if isinstance(record, ArrayRecord) and phase == "evaluate":
                self.samples[client] = {name: array.numpy() for name, array in record.items()}
            if not isinstance(record, MetricRecord):
                continue
            for name, value in record.items():
                if name not in ACCOUNTED and isinstance(value, int | float):
                    self._declared.require(name, self._learner)
                    self._metrics.append((client, name, float(value)))

    def _open(self, timeout: float) -> None:
        """Find all nodes and open the trial on them."""
        deadline = time.monotonic() + timeout
        asked: set[int] = set()
        seen: dict[int, int] = {}
        expected = 0
        while True:
            new = sorted(set(self.grid.get_node_ids()) - asked)
            if new:
                asked.update(new)
                for node, (index, count) in self._query(new, deadline - time.monotonic()).items():
                    if index in seen:
                        raise FederationError(
                            f"two nodes have partition-id {index}: give every SuperNode a partition-id of its own"
                        )
                    seen[index], expected = node, max(expected, count)
            if expected and len(seen) >= expected:
                break
            if time.monotonic() >= deadline:
                raise FederationError(
                    f"{len(seen)} of {expected or 'an unknown number of'} nodes are here after {timeout:g} s: "
                    "start the missing SuperNodes or raise timeout_s"
                )
            time.sleep(POLL_S)
        nodes = [seen[index] for index in sorted(seen)]
        self._host.update({client: nodes[client % expected] for client in self.get_node_ids()})
        missing = [self.name(client) for client in self.get_node_ids() if client not in self.properties]
        if missing:
            raise FederationError(f"no node hosts the clients {missing}: check the nodes' num-partitions")

    def _query(self, nodes: list[int], timeout: float) -> dict[int, tuple[int, int]]:
        text = self.trial.to_json()
        keeping = {"run": self.ledger.run, "marks": marks_to_json(self.ledger.marks)} if self.ledger.run else {}
        content = RecordDict({STATE: ConfigRecord({"trial": text, **keeping})})
        sent = [Message(content, node, "query", group_id="0") for node in nodes]
        replies = list(self.grid.send_and_receive(sent, timeout=max(0.0, timeout)))
        addressed = {message.metadata.message_id: message.metadata.dst_node_id for message in sent}
        found = {}
        for reply in replies:
            node = addressed[reply.metadata.reply_to_message_id]
            if reply.has_error():
                raise FederationError(f"a node could not open the trial: {sentence(reply.error)}")
            records = reply.content.config_records
            if "error" in records:
                raise SemfedError(str(records["error"]["message"]))
            self.keeps = self.keeps and bool(records["node"].get("keeps"))
            found[node] = (
                _integer(records["node"], "partition-id"),
                _integer(records["node"], "num-partitions"),
            )
            hosted = [name for name in records if name.startswith("client-")]
            for name in hosted:
                client = int(name.removeprefix("client-"))
                self.properties[client] = dict(records[name])
                self._accounts.opened(client, records[name], len(text) / len(hosted))
            if "initial" in reply.content.array_records:
                self.initial_arrays = reply.content.array_records["initial"]
        return found


def _integer(record: ConfigRecord, key: str) -> int:
    return int(str(record[key]))


def sentence(error: Error) -> str:
    """Return the last telling line of an error's reason; Flower packs whole tracebacks into it."""
    lines = [line.strip().removesuffix("'>") for line in (error.reason or "").splitlines()]
    return next(filter(None, reversed(lines)), f"error code {error.code}")
