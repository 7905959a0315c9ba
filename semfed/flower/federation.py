"""The clients of one experiment as a strategy sees them: a Flower ``Grid`` whose node ids are client indices.

It stands between any strategy, a stock one of Flower's too, and the engine's grid: it finds out by one query which
node hosts which client, sends a client's messages there, gives replies back in the order of the clients (so that
sums do not depend on who answered first), says who did not answer and why, and accounts every byte and channel use.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy.typing as npt
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.serverapp import Grid

from semfed.errors import FederationError, SemfedError
from semfed.flower.adapter import STATE
from semfed.flower.experiment import Experiment
from semfed.records import Record

POLL_S = 0.2
NO_REPLY = 4


class Federation(Grid):
    """A grid of clients 0 .. K-1.

    Parameters
    ----------
    grid : Grid
        What the engine provides; its nodes may be fewer than the clients, then a node hosts several.
    experiment : Experiment
    timeout : float
        Seconds to wait for nodes and for their answers to the opening query.

    Attributes
    ----------
    properties : dict of int to dict
        What every client's ``get_properties`` answered.
    samples : dict of int to dict of str to ndarray
        Arrays that a client showed when it was evaluated last.
    initial_arrays : ArrayRecord
        What the first client proposes to start from; it is the same at every client of a seed.

    Raises
    ------
    FederationError
        If nodes are missing or do not answer.
    SemfedError
        If a client says that it cannot take part, in its own words.
    """

    def __init__(self, grid: Grid, experiment: Experiment, *, timeout: float = 3600.0) -> None:
        self.grid = grid
        self.experiment = experiment
        self.properties: dict[int, dict[str, Any]] = {}
        self.samples: dict[int, dict[str, npt.NDArray[Any]]] = {}
        self.initial_arrays = ArrayRecord()
        self._host: dict[int, int] = {}
        self._metrics: list[tuple[int, str, float]] = []
        self._reported: list[tuple[str, float]] = []
        self._failures: list[tuple[int, str, str]] = []
        self._costs: defaultdict[tuple[int, str], float] = defaultdict(float)
        self._open(timeout)

    # -- what strategies use ------------------------------------------------------------------------------

    def get_node_ids(self) -> Iterable[int]:
        """Return the client indices."""
        return list(range(len(self.experiment.scenario.clients)))

    def name(self, client: int) -> str:
        """Return a client's name in the scenario."""
        return self.experiment.scenario.clients[client].name

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send messages to clients and wait for their replies.

        Parameters
        ----------
        messages : iterable of Message
            Their ``dst_node_id`` is a client index; at most one per client.
        timeout : float, optional
            Seconds for all of them together.

        Returns
        -------
        list of Message
            One per message, in the order of client indices; ``src_node_id`` is the client index. A client that
            raised, or did not answer in time, has an error reply.
        """
        pending = {message.metadata.dst_node_id: message for message in messages}
        deadline = None if timeout is None else time.monotonic() + timeout
        replies: dict[int, Message] = {}
        silent: set[int] = set()
        while pending:
            wave = {self._host[client]: client for client in sorted(pending, reverse=True)}
            due = {client: pending.pop(client) for client in sorted(wave.values())}
            reachable = {c: m for c, m in due.items() if self._host[c] not in silent}
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            answered = self._send(reachable, left) if reachable else {}
            silent |= {self._host[client] for client in reachable if client not in answered}
            for client, message in due.items():
                reply = answered.get(client)
                if reply is None:
                    error = Error(NO_REPLY, f"no reply within {timeout:g} s" if timeout else "no reply")
                    reply = Message(error, reply_to=message)
                replies[client] = reply
        ordered = [replies[client] for client in sorted(replies)]
        for reply in ordered:
            self._take_note(reply)
        return ordered

    def reject(self, client: int, phase: str, reason: str) -> None:
        """Note that a reply came but could not be used."""
        self._failures.append((client, phase, reason))

    def report(self, metric: str, value: float, client: int | None = None) -> None:
        """Record a number that the strategy itself found: of all together, or of a client, as if it had told it."""
        if client is None:
            self._reported.append((metric, value))
        elif metric.startswith("cost/"):
            self._costs[client, metric] += value
        else:
            self._metrics.append((client, metric, value))

    def drain(self, round_: int) -> list[Record]:
        """Return what has been measured since the last call, as the records of a round."""
        arm, seed, clients = self.experiment.arm, self.experiment.seed, self.experiment.scenario.clients

        def record(client: int | None, metric: str, value: float, note: str | None = None) -> Record:
            name = None if client is None else clients[client].name
            return Record(arm, seed, round_, name, metric, float(value), note)

        records = [record(c, f"failure/{phase}", 1.0, note) for c, phase, note in self._failures]
        sums: defaultdict[str, list[float]] = defaultdict(list)
        for client, metric, value in self._metrics:
            sums[metric].append(value)
            name = metric if "/" in metric else f"{metric}/{clients[client].task}"
            records.append(record(client, name, value))
        records += [
            record(None, f"{metric}/average", sum(values) / len(values))
            for metric, values in sums.items()
            if "/" not in metric
        ]
        records += [record(client, name, value) for (client, name), value in sorted(self._costs.items())]
        records += [record(None, name, value) for name, value in self._reported]
        private = self.experiment.scenario.privacy.updates
        if private is not None:
            records.append(record(None, "privacy/epsilon", private.spent(round_)))
        self._metrics, self._failures, self._reported = [], [], []
        self._costs.clear()
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

    def _send(self, messages: Mapping[int, Message], timeout: float | None) -> dict[int, Message]:
        """Send at most one message to any node; return the replies by client."""
        wired = {}
        for client, message in messages.items():
            content = RecordDict({**message.content, STATE: ConfigRecord({"client": client})})
            wired[client] = Message(
                content,
                self._host[client],
                message.metadata.message_type,
                group_id=message.metadata.group_id,
                ttl=message.metadata.ttl,
            )
            self._account(client, message.metadata.message_type, message.content, "down")
        raw = list(self.grid.send_and_receive(list(wired.values()), timeout=timeout))
        sender = {message.metadata.message_id: client for client, message in wired.items()}
        replies = {}
        for reply in raw:
            client = sender[reply.metadata.reply_to_message_id]
            # A reply to the strategy's own message comes from a client index instead of a node id.
            own = messages[client]
            failed = reply.has_error()
            replies[client] = Message(reply.error, reply_to=own) if failed else Message(reply.content, reply_to=own)
        return replies

    def _take_note(self, reply: Message) -> None:
        client, phase = reply.metadata.src_node_id, reply.metadata.message_type
        if reply.has_error():
            self._failures.append((client, phase, sentence(reply.error)))
            return
        self._account(client, phase, reply.content, "up")
        if phase == "evaluate":
            for shown in reply.content.array_records.values():
                self.samples[client] = {name: array.numpy() for name, array in shown.items()}
        for record in reply.content.metric_records.values():
            for name, value in record.items():
                if name.startswith("channel-uses"):
                    self._costs[client, _cost(name.replace("-", "_"), phase)] += float(value)  # type: ignore[arg-type]
                elif name != "num-examples" and isinstance(value, int | float):
                    self._metrics.append((client, name, float(value)))

    def _account(self, client: int, phase: str, content: RecordDict, direction: str) -> None:
        size = sum(record.count_bytes() for record in content.values())
        self._costs[client, _cost(f"bytes_{direction}", phase)] += size

    def _open(self, timeout: float) -> None:
        """Find all nodes and open the experiment on them."""
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
        self._host = {client: nodes[client % expected] for client in self.get_node_ids()}
        missing = [self.name(client) for client in self.get_node_ids() if client not in self.properties]
        if missing:
            raise FederationError(f"no node hosts the clients {missing}: check the nodes' num-partitions")

    def _query(self, nodes: list[int], timeout: float) -> dict[int, tuple[int, int]]:
        text = self.experiment.to_json()
        content = RecordDict({STATE: ConfigRecord({"experiment": text})})
        sent = [Message(content, node, "query", group_id="0") for node in nodes]
        replies = list(self.grid.send_and_receive(sent, timeout=max(0.0, timeout)))
        addressed = {message.metadata.message_id: message.metadata.dst_node_id for message in sent}
        found = {}
        for reply in replies:
            node = addressed[reply.metadata.reply_to_message_id]
            if reply.has_error():
                raise FederationError(f"a node could not open the experiment: {sentence(reply.error)}")
            records = reply.content.config_records
            if "error" in records:
                raise SemfedError(str(records["error"]["message"]))
            found[node] = (
                _integer(records["node"], "partition-id"),
                _integer(records["node"], "num-partitions"),
            )
            hosted = [name for name in records if name.startswith("client-")]
            for name in hosted:
                client = int(name.removeprefix("client-"))
                self.properties[client] = dict(records[name])
                self._costs[client, "cost/bytes_up"] += records[name].count_bytes()
                self._costs[client, "cost/bytes_down"] += len(text) / len(hosted)
            if "initial" in reply.content.array_records:
                self.initial_arrays = reply.content.array_records["initial"]
        return found


def _integer(record: ConfigRecord, key: str) -> int:
    return int(str(record[key]))


def _cost(name: str, phase: str) -> str:
    """Name a cost; evaluation is an instrument of the experiment and is accounted apart."""
    return f"cost/evaluation_{name}" if phase.startswith("evaluate") else f"cost/{name}"


def sentence(error: Error) -> str:
    """Return the last telling line of an error's reason; Flower packs whole tracebacks into it."""
    lines = [line.strip(" '>") for line in (error.reason or "").strip().splitlines() if line.strip(" '>")]
    return lines[-1] if lines else f"error code {error.code}"
