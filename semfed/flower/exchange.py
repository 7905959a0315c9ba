"""Exchanges of messages with clients over an engine's grid: in waves, with deadlines, and safe from late replies.

Flower runs the next message of a node although it is still busy with one that missed its deadline; the late one then
overwrites the client's newer state with its older copy. So a node whose answer is outstanding gets no message.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.serverapp import Grid

from semfed.flower.adapter import STATE

POLL_S = 0.2
NO_REPLY = 4
"""Flower's code for a reply that is not available."""


@dataclass(frozen=True)
class Outstanding:
    """A message that was not answered in time."""

    client: int
    message: Message
    message_id: str


class Exchange:
    """Sends messages to the nodes that host their clients.

    Parameters
    ----------
    grid : Grid
        Of the engine.
    host : mapping of int to int
        Node of every client.
    address : callable
        Makes the adapter's record of a message: client and message to ConfigRecord.

    Attributes
    ----------
    late : set of int
        Clients of which a late reply came and was thrown away; the reader clears it.
    """

    def __init__(self, grid: Grid, host: Mapping[int, int], address: Callable[[int, Message], ConfigRecord]) -> None:
        self._grid, self._host, self._address = grid, host, address
        self._outstanding: dict[int, Outstanding] = {}
        self.late: set[int] = set()

    def ask(
        self, messages: Mapping[int, Message], timeout: float | None, *, patient: bool = False
    ) -> Iterator[tuple[int, Message]]:
        """Send at most one message to every client and give the replies as they come.

        Parameters
        ----------
        messages : mapping of int to Message
            By client.
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
        pending = {client: message for client, message in messages.items() if client not in found}
        while pending:
            wave = {self._host[client]: client for client in sorted(pending, reverse=True)}
            due = {client: pending.pop(client) for client in sorted(wave.values())}
            free = {client: m for client, m in due.items() if self._host[client] not in self._outstanding}
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            for client, reply in self._send(free, left):
                del due[client]
                yield client, reply
            for client, message in due.items():
                reason = "still busy with an earlier message"
                if client in free or self._outstanding[self._host[client]].message is message:
                    reason = f"no reply within {timeout:g} s" if timeout else "no reply"
                yield client, Message(Error(NO_REPLY, reason), reply_to=message)

    def _await_outstanding(self, messages: Mapping[int, Message], patience: float | None) -> dict[int, Message]:
        """Collect replies that missed their deadline; return those to these very messages."""
        deadline = None if patience is None else time.monotonic() + patience
        found: dict[int, Message] = {}
        concerned = {self._host[client] for client in messages}
        while self._outstanding:
            by_id = {entry.message_id: node for node, entry in self._outstanding.items()}
            for reply in self._grid.pull_messages(list(by_id)):
                entry = self._outstanding.pop(by_id[reply.metadata.reply_to_message_id])
                if messages.get(entry.client) is entry.message:
                    found[entry.client] = _readdress(reply, entry.message)
                else:
                    self.late.add(entry.client)
            over = deadline is not None and time.monotonic() >= deadline
            if over or not concerned & set(self._outstanding):
                break
            time.sleep(POLL_S)
        return found

    def _send(self, messages: Mapping[int, Message], timeout: float | None) -> Iterator[tuple[int, Message]]:
        """Send at most one message to any node; yield replies by client and note who did not answer."""
        wired = {}
        for client, message in messages.items():
            wired[client] = Message(
                RecordDict({**message.content, STATE: self._address(client, message)}),
                self._host[client],
                message.metadata.message_type,
                group_id=message.metadata.group_id,
                ttl=message.metadata.ttl,
            )
        waiting: dict[str, int] = {}
        for reply in self._grid.send_and_receive(list(wired.values()), timeout=timeout) if wired else ():
            # Messages have their ids once they are sent; they are forgotten as they are answered.
            waiting = waiting or {message.metadata.message_id: client for client, message in wired.items()}
            client = waiting.get(reply.metadata.reply_to_message_id, -1)
            if client in wired:  # a second reply to one message is ignored
                del wired[client]
                yield client, _readdress(reply, messages[client])
        for client, message in wired.items():
            self._outstanding[self._host[client]] = Outstanding(client, messages[client], message.metadata.message_id)


def _readdress(reply: Message, own: Message) -> Message:
    """Let a reply answer the strategy's own message, which comes from a client index instead of a node id."""
    return Message(reply.error, reply_to=own) if reply.has_error() else Message(reply.content, reply_to=own)
