"""Exchanges of messages with clients over an engine's grid: one message a node, deadlines, and safe from late replies.

Flower runs the next message of a node although it is still busy with one that missed its deadline; the late one then
overwrites the client's newer state with its older copy. So a node whose answer is outstanding gets no message.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from flwr.app import ConfigRecord, Error, Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from semfed.flower.bundle import cut, pack, unpack
from semfed.flower.client.app import STATE

POLL_S = 0.2
NO_REPLY = ErrorCode.REPLY_MESSAGE_UNAVAILABLE
ONE_OF_THEM = (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, ErrorCode.CLIENT_APP_CRASHED)
"""Errors of a whole bundle that one of its clients may have caused."""
Bundle = dict[int, Message]
"""The messages, by client, that a node gets together."""
Address = Callable[[int, Message], ConfigRecord]
"""Makes the adapter's record of a client's message when that goes out."""


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
    host : mapping of int to int
        Node of every client.

    Attributes
    ----------
    late : set of int
        Clients of which a late reply came and was thrown away; the reader clears it.
    """

    def __init__(self, grid: Grid, host: Mapping[int, int]) -> None:
        self._grid, self._host = grid, host
        self._outstanding: dict[int, Outstanding] = {}
        self.late: set[int] = set()

    def ask(
        self, messages: Mapping[int, Message], address: Address, timeout: float | None, *, patient: bool = False
    ) -> Iterator[tuple[int, Message]]:
        """Send at most one message to every client and give the replies as they come.

        Where the process of a node failed with all that it was asked, it is asked again client by client, so that one
        client does not cost its neighbours their answers; none of their states has changed.

        Parameters
        ----------
        messages : mapping of int to Message
            By client.
        address : callable
            Makes the adapter's record of each of them; called again where one is sent again.
        timeout : float or None
            Seconds for all of them together.
        patient : bool, default False
            Wait as long for nodes that are still busy with an earlier message. An answer that was given up before,
            and comes now, counts if its message is among these.

        Yields
        ------
        client : int
        reply : Message
            An error where there is none.
        """
        found = self._await_outstanding(messages, timeout if patient else 0.0)
        yield from found.items()
        deadline = None if timeout is None else time.monotonic() + timeout
        queues = self._queues({client: message for client, message in messages.items() if client not in found})
        while queues:
            due = {node: queue.popleft() for node, queue in queues.items()}
            free = {node: bundle for node, bundle in due.items() if node not in self._outstanding}
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            for node, reply in self._send(free, address, left):
                bundle = due.pop(node)
                if _perhaps_one_of_them(bundle, reply):
                    queues[node].extendleft({client: bundle[client]} for client in reversed(bundle))
                else:
                    yield from _take_apart(bundle, reply)
            for node, bundle in due.items():
                for client, message in bundle.items():
                    reason = "still busy with an earlier message"
                    if node in free or self._outstanding[node].bundle.get(client) is message:
                        reason = f"no reply within {timeout:g} s" if timeout else "no reply"
                    yield client, Message(Error(NO_REPLY, reason), reply_to=message)
            queues = {node: queue for node, queue in queues.items() if queue}

    def _queues(self, messages: Mapping[int, Message]) -> dict[int, deque[Bundle]]:
        """Return what each node gets, one after the other."""
        by_node: dict[int, dict[int, Message]] = {}
        for client, message in sorted(messages.items()):
            by_node.setdefault(self._host[client], {})[client] = message
        return {node: deque(cut(own)) for node, own in by_node.items()}

    def _await_outstanding(self, messages: Mapping[int, Message], patience: float | None) -> dict[int, Message]:
        """Collect replies that missed their deadline; return those to these very messages."""
        deadline = None if patience is None else time.monotonic() + patience
        found: dict[int, Message] = {}
        concerned = {self._host[client] for client in messages}
        while self._outstanding:
            by_id = {entry.message_id: node for node, entry in self._outstanding.items()}
            for reply in self._grid.pull_messages(list(by_id)):
                bundle = self._outstanding.pop(by_id[reply.metadata.reply_to_message_id]).bundle
                if _perhaps_one_of_them(bundle, reply):
                    continue  # as if it had not been asked: whoever is among these messages is asked anew
                for client, own in _take_apart(bundle, reply):
                    if messages.get(client) is bundle[client]:
                        found[client] = own
                    else:
                        self.late.add(client)
            over = deadline is not None and time.monotonic() >= deadline
            if over or not concerned & set(self._outstanding):
                break
            time.sleep(POLL_S)
        return found

    def _send(
        self, bundles: Mapping[int, Bundle], address: Address, timeout: float | None
    ) -> Iterator[tuple[int, Message]]:
        """Send one message to every node; yield replies by node and note who did not answer."""
        wired: dict[int, Message] = {}
        waiting: dict[str, int] = {}

        nodes = list(bundles)

        def make(k: int) -> Message:
            wired[nodes[k]] = message = _wire(nodes[k], bundles[nodes[k]], address)
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


def _wire(node: int, bundle: Bundle, address: Address) -> Message:
    """Make the one message that goes to a node."""
    contents = {client: message.content.copy() for client, message in bundle.items()}
    for client, content in contents.items():
        content[STATE] = address(client, bundle[client])
    first, about = next(iter(bundle)), next(iter(bundle.values())).metadata
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
    for client, message in bundle.items():
        yield client, Message(parts.get(client, missing), reply_to=message)
