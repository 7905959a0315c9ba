"""Exchanges of messages with clients over an engine's grid: one message a node, deadlines, and safe from late replies.

Flower runs the next message of a node although it is still busy with one that missed its deadline; the late one then
overwrites the client's newer state with its older copy. So a node whose answer is outstanding gets no message.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from flwr.app import ConfigRecord, Error, Message
from flwr.serverapp import Grid

from semfed.events.spans import span
from semfed.flower.bundle import cut, pack, unpack
from semfed.flower.compat import CLIENT_CRASHED, CLIENT_RAISED, NO_REPLY
from semfed.flower.protocol import STATE

POLL_S = 0.2
ONE_OF_THEM = (CLIENT_RAISED, CLIENT_CRASHED)
"""Errors of a whole bundle that one of its clients may have caused."""


@dataclass
class Envelope:
    """A client's message on its way.

    Attributes
    ----------
    message : Message
        The strategy's own.
    address : dict
        What the adapter has to know: the client, and what else is asked of it.
    sent : int
        How often it has gone out so far.
    """

    message: Message
    address: dict[str, Any]
    sent: int = 0


Bundle = dict[int, Envelope]
"""The messages, by client, that a node gets together."""


@runtime_checkable
class MakesMessages(Protocol):
    """A grid that asks for messages when it wants to send them, in any order."""

    def exchange(
        self, nodes: Sequence[int], make: Callable[[int], Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send every node a message, and give replies as they come.

        Parameters
        ----------
        nodes : sequence of int
        make : callable
            Makes the message to the k-th of the nodes.
        timeout : float, optional
            Seconds for all of them together.
        """


@dataclass(frozen=True)
class Outstanding:
    """What a node did not answer in time."""

    bundle: Bundle
    message_id: str


class Exchange:
    """Sends messages to the nodes that host their clients, those of one node together.

    Parameters
    ----------
    grid : Grid
        Of the engine.
    hosts : mapping of int to int
        Node of every client.

    Attributes
    ----------
    late : set of int
        Clients of which a late reply came and was thrown away; the reader clears it.
    """

    def __init__(self, grid: Grid, hosts: Mapping[int, int]) -> None:
        self._grid, self._hosts = grid, hosts
        self._outstanding: dict[int, Outstanding] = {}
        self.late: set[int] = set()

    def ask(
        self,
        envelopes: Mapping[int, Envelope],
        timeout: float | None,
        *,
        patient: bool = False,
        most: int | None = None,
    ) -> Iterator[tuple[int, Message]]:
        """Send at most one message to every client and give the replies as they come.

        Where the process of a node failed with all that it was asked, it is asked again client by client, so that one
        client does not cost its neighbours their answers; none of their states has changed.

        Parameters
        ----------
        envelopes : mapping of int to Envelope
            By client.
        timeout : float or None
            Seconds for all of them together.
        patient : bool, default False
            Wait as long for nodes that are still busy with an earlier message. An answer that was given up before,
            and comes now, counts if its envelope is among these.
        most : int, optional
            How many clients of a node may answer together, where replies are larger than messages.

        Yields
        ------
        client : int
        reply : Message
            An error where there is none.
        """
        found = self._await_outstanding(envelopes, timeout if patient else 0.0)
        yield from found.items()
        deadline = None if timeout is None else time.monotonic() + timeout
        queues = self._queues({client: own for client, own in envelopes.items() if client not in found}, most)
        while queues:
            due = {node: queue.popleft() for node, queue in queues.items()}
            free = {node: bundle for node, bundle in due.items() if node not in self._outstanding}
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            for node, reply in self._send(free, left):
                bundle = due.pop(node)
                if _perhaps_one_of_them(bundle, reply):
                    queues[node].extendleft({client: bundle[client]} for client in reversed(bundle))
                else:
                    yield from _take_apart(bundle, reply)
            for node, bundle in due.items():
                for client, envelope in bundle.items():
                    reason = "still busy with an earlier message"
                    if node in free or self._outstanding[node].bundle.get(client) is envelope:
                        reason = f"no reply within {timeout:g} s" if timeout else "no reply"
                    yield client, Message(Error(NO_REPLY, reason), reply_to=envelope.message)
            queues = {node: queue for node, queue in queues.items() if queue}

    def _queues(self, envelopes: Mapping[int, Envelope], most: int | None) -> dict[int, deque[Bundle]]:
        """Return what each node gets, one after the other."""
        by_node: dict[int, dict[int, Message]] = {}
        for client in sorted(envelopes):
            by_node.setdefault(self._hosts[client], {})[client] = envelopes[client].message
        return {
            node: deque({client: envelopes[client] for client in bundle} for bundle in cut(own, most=most))
            for node, own in by_node.items()
        }

    def _await_outstanding(self, envelopes: Mapping[int, Envelope], patience: float | None) -> dict[int, Message]:
        """Collect replies that missed their deadline; return those to these very envelopes."""
        deadline = None if patience is None else time.monotonic() + patience
        found: dict[int, Message] = {}
        concerned = {self._hosts[client] for client in envelopes}
        while self._outstanding:
            by_id = {entry.message_id: node for node, entry in self._outstanding.items()}
            for reply in self._grid.pull_messages(list(by_id)):
                bundle = self._outstanding.pop(by_id[reply.metadata.reply_to_message_id]).bundle
                if _perhaps_one_of_them(bundle, reply):
                    continue  # as if it had not been asked: whoever is among these is asked anew
                for client, own in _take_apart(bundle, reply):
                    if envelopes.get(client) is bundle[client]:
                        found[client] = own
                    else:
                        self.late.add(client)
            over = deadline is not None and time.monotonic() >= deadline
            if over or not concerned & set(self._outstanding):
                break
            time.sleep(POLL_S)
        return found

    def _send(self, bundles: Mapping[int, Bundle], timeout: float | None) -> Iterator[tuple[int, Message]]:
        """Send one message to every node; yield replies by node and note who did not answer."""
        wired: dict[int, Message] = {}
        waiting: dict[str, int] = {}

        nodes = list(bundles)

        def make(k: int) -> Message:
            wired[nodes[k]] = message = _wire(nodes[k], bundles[nodes[k]])
            return message

        for reply in self._deliver(nodes, make, timeout) if nodes else ():
            asked = reply.metadata.reply_to_message_id
            if asked not in waiting:  # messages have their ids once they are sent
                waiting = {message.metadata.message_id: node for node, message in wired.items()}
            node = waiting.get(asked, -1)
            if node in wired:  # a second reply to one message is ignored
                del wired[node]
                yield node, reply
        for node, message in wired.items():
            self._outstanding[node] = Outstanding(bundles[node], message.metadata.message_id)

    def _deliver(self, nodes: list[int], make: Callable[[int], Message], timeout: float | None) -> Iterable[Message]:
        """Let the grid send a message to every node; one that makes them itself has its workers busy sooner."""
        if isinstance(self._grid, MakesMessages):
            return self._grid.exchange(nodes, make, timeout=timeout)
        return self._grid.send_and_receive([make(k) for k in range(len(nodes))], timeout=timeout)


@span("broadcast")
def _wire(node: int, bundle: Bundle) -> Message:
    """Make the one message that goes to a node."""
    contents = {}
    for client, envelope in bundle.items():
        contents[client] = content = envelope.message.content.copy()
        if envelope.address:  # an app that is not ours has nothing to read there
            content[STATE] = ConfigRecord(envelope.address)
        envelope.sent += 1
    first, about = next(iter(bundle)), next(iter(bundle.values())).message.metadata
    content = contents[first] if len(contents) == 1 else pack(contents)
    return Message(content, node, about.message_type, group_id=about.group_id, ttl=about.ttl)


def _perhaps_one_of_them(bundle: Bundle, reply: Message) -> bool:
    """Whether several clients have one error, of a kind that a single one of them may have caused."""
    return len(bundle) > 1 and reply.has_error() and reply.error.code in ONE_OF_THEM


def _take_apart(bundle: Bundle, reply: Message) -> Iterator[tuple[int, Message]]:
    """Let a reply answer the strategy's own messages, which come from client indices instead of a node id."""
    if len(bundle) == 1 or reply.has_error():
        parts = dict.fromkeys(bundle, reply.error if reply.has_error() else reply.content)
    else:
        parts = unpack(reply.content)
    missing = Error(NO_REPLY, "its node's reply leaves it out")
    for client, envelope in bundle.items():
        yield client, Message(parts.get(client, missing), reply_to=envelope.message)
