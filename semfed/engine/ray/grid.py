"""The Ray engine: actors that stay alive for the whole run, each with its own clients, on this machine or a cluster.

Every client belongs to one actor, which keeps its state, one resident model per architecture and one copy of the data.
Where a sampled round would keep one actor busy for longer than the others, clients at the end of its row move to the
next, and an actor that is ahead takes some from those that are not. Nothing polls: the driver waits for results. What a
round broadcasts is put into Ray's object store once. After every batch of messages an actor leaves a snapshot of its
clients' states there; if it dies, a new one starts from the snapshots and answers the same messages again, with the
same numbers.
"""

import gc
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from typing import Any, ClassVar

import ray
from flwr.app import ArrayRecord, Error, Message, RecordDict
from ray.exceptions import RayActorError

from semfed.engine.nodes import FIRST_NODE, Nodes, ServerlessGrid
from semfed.engine.ray.cluster import SMALL_BYTES, count_actors, enter
from semfed.engine.ray.placement import SLACK, Placed, longest, place, rows
from semfed.engine.ray.schedule import Schedule
from semfed.engine.spill import BUDGET_MB, StateSpill
from semfed.errors import EngineError
from semfed.events.spans import span
from semfed.flower import arrays as wire
from semfed.flower.client.app import make_client_app
from semfed.flower.compat import CLIENT_CRASHED
from semfed.flower.partial_sums import fold

BATCH_S = 0.2
"""How long a batch of messages should keep an actor busy: a task costs Ray milliseconds, and replies stream in."""
LEAST_S = 0.1
"""What takes less is not divided."""
FIRST_BATCHES = 4
"""Into how many batches an actor's messages are cut while nobody knows how long they take."""
MOST_IN_BATCH = 128
"""Messages in one batch: a round's replies need the memory of a few batches, however many clients there are."""
AHEAD = 2
"""Batches that an actor has: one that it works on, and the next."""
RESTARTS = 3
"""How often an actor is replaced in one exchange before the engine gives up."""

States = dict[int, RecordDict]
Kept = list[tuple[list[int], list[Any]]]
"""Nodes whose states are in one snapshot, and a reference to it, in a list that keeps Ray from fetching it early."""
Batch = tuple[list[Message], list[dict[str, int]], set[int], Kept]
"""Messages; for each, by name, which of the records that travel apart are its own; nodes that have moved to another
actor; states of nodes that another actor has served before."""


@ray.remote
class Host:
    """An actor that serves nodes in its own process."""

    def __init__(
        self, indices: Sequence[int], total: int, run_config: Mapping[str, Any], state_memory_mb: float
    ) -> None:
        self._nodes = Nodes(make_client_app(), indices, total, run_config, StateSpill(state_memory_mb))
        gc.freeze()  # what has been imported stays: a full collection that looks at it takes longer than a round

    def restore(self, kept: Kept) -> None:
        """Take nodes' states over, of nodes that another actor has served before, too."""
        for nodes, (reference,) in kept:
            states = ray.get(reference)
            self._nodes.restore({node: states[node] for node in nodes})

    def serve(self, batch: Batch, *shared: ArrayRecord) -> tuple[tuple[list[Message], float], States]:
        """Answer messages in their order.

        Returns
        -------
        replies : list of Message, float
            And the seconds that they took.
        states : States
            A snapshot of the states of their nodes.
        """
        started = time.perf_counter()
        messages, detached, departed, arrivals = batch
        self._nodes.forget(departed)
        self.restore(arrivals)
        for message, records in zip(messages, detached, strict=True):
            for name, key in records.items():
                message.content[name] = shared[key]
        replies = list(fold(messages, self._nodes.answer_all(messages)))
        states = self._nodes.states({message.metadata.dst_node_id for message in messages})
        return (replies, time.perf_counter() - started), states


class RayGrid(ServerlessGrid):
    """A grid whose nodes live in Ray actors.

    Parameters
    ----------
    sizes : sequence of float
        Work per node, one node a client; they are placed so that actors finish together.
    run_config : mapping, optional
        As clients see it.
    workers : int, optional
        Number of actors; one per CPU of the cluster by default, and never more than nodes.
    address : str, optional
        Of a Ray cluster to join; a private one is started on this machine by default.
    gpus_per_worker : float, default 0
    state_memory_mb : float
        Megabytes of client states that stay in the actors' memory, of all actors together.

    Raises
    ------
    EngineError
        If Ray cannot be started or joined.
    """

    folds: ClassVar[bool] = True

    def __init__(
        self,
        sizes: Sequence[float],
        run_config: Mapping[str, Any] | None = None,
        *,
        workers: int | None = None,
        address: str | None = None,
        gpus_per_worker: float = 0.0,
        state_memory_mb: float = BUDGET_MB,
    ) -> None:
        super().__init__(len(sizes))
        self._run_config = dict(run_config or {})
        self._owns_cluster = enter(address, workers)
        try:
            count = count_actors(len(sizes), workers, gpus_per_worker, ray.nodes())  # type: ignore[no-untyped-call]
        except EngineError:
            if self._owns_cluster:
                ray.shutdown()
            raise
        self._options = {"num_cpus": 1, "num_gpus": gpus_per_worker}
        self._sizes = list(sizes)
        placed = place(sizes, count)
        self._in_rows = placed == rows(sizes, count)
        self._host_of = {index + FIRST_NODE: host for host, members in enumerate(placed) for index in members}
        self._snapshots: dict[int, Any] = {}
        self._departed = defaultdict[int, set[int]](set)
        self._pace: dict[tuple[int, str], float] = {}
        self._common = CommonArrays()
        self._late: dict[Any, tuple[int, list[Message], Any]] = {}
        self._memory_mb = state_memory_mb / count
        self._hosts = [self._start(host) for host in range(count)]
        gc.freeze()  # as the actors do

    @span("waiting")
    def exchange(
        self, nodes: Sequence[int], make: Callable[[int], Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Let actors answer, and give replies as they come; late ones are left out and may be pulled."""
        if not nodes:
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        self._common = CommonArrays()
        sizes = [self._sizes[node - FIRST_NODE] for node in nodes]
        placed, movable = self._assign(nodes, sizes)
        schedule = Schedule(placed, sizes, movable=movable)
        first = self._numbered(make(0))
        kind = first.metadata.message_type  # of all of them

        def more() -> Iterator[tuple[Any, tuple[int, list[Message], Any]]]:
            for host in [*range(len(self._hosts))] * AHEAD:
                limits = self._batch_limits(len(placed[host]), self._pace.get((host, kind)))
                places = schedule.take(host, *limits) if schedule.waiting(host) < AHEAD else []
                if places:
                    yield self._submit(host, [self._numbered(make(k)) if k else first for k in places])

        pending = dict(more())
        restarts: defaultdict[int, int] = defaultdict(int)
        while pending:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _ = ray.wait(list(pending), num_returns=1, timeout=left, fetch_local=False)
            if not ready:
                self._late |= pending
                break
            host, batch, snapshot = pending.pop(ready[0])
            try:
                answered, seconds = ray.get(ready[0])
            except RayActorError as error:
                restarts[host] += 1
                if restarts[host] > RESTARTS:
                    raise EngineError(f"a Ray actor died {restarts[host]} times in one exchange: {error}") from error
                pending = self._replace(host, batch, pending)
                continue
            self._pace[host, kind] = seconds / len(batch)
            self._snapshots |= {message.metadata.dst_node_id: snapshot for message in batch}
            schedule.done(host)
            if not schedule.over:
                pending |= more()
            yield from answered

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return replies that were pushed or that came too late, each once."""
        ready, _ = ray.wait(list(self._late), num_returns=len(self._late), timeout=0) if self._late else ([], [])
        for reference in ready:
            _, batch, snapshot = self._late.pop(reference)
            try:
                answered, _ = ray.get(reference)
            except RayActorError as error:
                answered = [Message(Error(CLIENT_CRASHED, f"a Ray actor died: {error}"), reply_to=m) for m in batch]
            else:
                self._snapshots |= {message.metadata.dst_node_id: snapshot for message in batch}
            for message, reply in zip(batch, answered, strict=True):
                self._replies[message.metadata.message_id] = reply
        return super().pull_messages(message_ids)

    def close(self) -> None:
        """End the actors, and Ray itself where this grid started it."""
        for host in self._hosts:
            with suppress(Exception):
                ray.kill(host)
        if self._owns_cluster:
            ray.shutdown()
        gc.unfreeze()

    def _start(self, host: int) -> Any:
        members = [node for node, its_host in self._host_of.items() if its_host == host]
        actor = Host.options(**self._options).remote(  # type: ignore[attr-defined]
            [node - FIRST_NODE for node in members], self._nodes, self._run_config, self._memory_mb
        )
        kept = self._kept(members)
        if kept:
            actor.restore.remote(kept)
        return actor

    def _kept(self, nodes: Iterable[int]) -> Kept:
        """Return where the latest states of nodes are."""
        by_snapshot: defaultdict[Any, list[int]] = defaultdict(list)
        for node in nodes:
            if node in self._snapshots:
                by_snapshot[self._snapshots[node]].append(node)
        return [(own, [snapshot]) for snapshot, own in by_snapshot.items()]

    def _assign(self, nodes: Sequence[int], sizes: Sequence[float]) -> tuple[Placed, bool]:
        """Return which of the nodes every actor serves, as indices in `nodes`, and whether others may take from these.

        Those of a sample may be more on one actor than on another. Then some at the end of its row go to the next.
        """
        at_home: Placed = [[] for _ in self._hosts]
        for k, node in enumerate(nodes):
            at_home[self._host_of[node]].append(k)
        if not self._in_rows or not all(node in self._snapshots for node in nodes):
            return at_home, False
        even = rows(sizes, len(self._hosts))
        return even if longest(at_home, sizes) > SLACK * longest(even, sizes) else at_home, True

    def _batch_limits(self, total: int, pace: float | None) -> tuple[int, int]:
        """Return how many of an actor's messages make a batch, and how many are not worth one; see `Schedule.take`."""
        if pace is None:
            return max(1, total // FIRST_BATCHES), 1
        return max(1, min(int(BATCH_S / pace), MOST_IN_BATCH)), int(LEAST_S / pace)

    def _submit(self, host: int, batch: list[Message]) -> tuple[Any, tuple[int, list[Message], Any]]:
        nodes = [message.metadata.dst_node_id for message in batch]
        arrived = [node for node in nodes if self._host_of[node] != host]
        for node in arrived:
            self._departed[self._host_of[node]].add(node)
        self._host_of |= dict.fromkeys(nodes, host)
        self._common.note(batch)
        messages, found = zip(*(_detach(message, self._common.references) for message in batch), strict=True)
        apart = dict.fromkeys(reference for records in found for reference in records.values())
        shared = {reference: k for k, reference in enumerate(apart)}
        keys = [{name: shared[reference] for name, reference in records.items()} for records in found]
        task: Batch = (list(messages), keys, self._departed.pop(host, set()), self._kept(arrived))
        replies, snapshot = self._hosts[host].serve.options(num_returns=2).remote(task, *shared)
        return replies, (host, batch, snapshot)

    def _replace(self, host: int, batch: list[Message], pending: dict[Any, Any]) -> dict[Any, Any]:
        """Start an actor anew and let it answer what the dead one did not."""
        logging.getLogger(__name__).warning("a Ray actor died; its clients start again from their last state")
        lost = [batch, *(waiting for owner, waiting, _ in pending.values() if owner == host)]
        kept = {reference: entry for reference, entry in pending.items() if entry[0] != host}
        self._hosts[host] = self._start(host)
        return {**kept, **dict(self._submit(host, again) for again in lost)}


class CommonArrays:
    """Records that several messages of an exchange share; the object store gets large ones that come a second time.

    Attributes
    ----------
    references : dict of int to ObjectRef or None
        By the identity of the record; None for one that is small.
    """

    def __init__(self) -> None:
        self.references: dict[int, Any] = {}
        self._seen: dict[int, ArrayRecord] = {}  # and kept, so that no other record gets the identity

    def note(self, messages: Iterable[Message]) -> None:
        """Look at messages that are about to be sent."""
        for message in messages:
            for record in message.content.values():
                if not isinstance(record, ArrayRecord) or id(record) in self.references:
                    continue
                if id(record) in self._seen:
                    large = wire.count_bytes(record) >= SMALL_BYTES
                    self.references[id(record)] = ray.put(record) if large else None
                self._seen[id(record)] = record


def _detach(message: Message, common: Mapping[int, Any]) -> tuple[Message, dict[str, Any]]:
    """Take what is in the object store out of a message."""
    found = {n: common[id(r)] for n, r in message.content.items() if common.get(id(r)) is not None}
    if not found:
        return message, {}
    slim, content = copy(message), message.content.copy()
    for name in found:
        del content[name]
    slim.content = content
    return slim, found
