"""A deployment's grid that notices when a message was lost, sends it again, and waits for nodes that are away.

A SuperLink hands a message out once. If its answer to a SuperNode's pull is lost, because the network was cut just
then, nobody sees the message again: the SuperNode stays online, and the server waits for a reply that cannot come.
(Flower's own remedy, pull request 7244, is open.) But a SuperNode takes its messages oldest first, and the next one
only when the reply to the last has been sent. So a probe that is answered before an older message tells that this one
was lost.

A SuperNode that was started anew has lost what it was told of the run. It says so, is told once more, with the states
of its clients that it has on its disk, and gets the message again.

A node that is silent for a while, too, loses what it was asked: the first look for its reply makes the SuperLink drop
the message and put an error in its place, although the node may come back a moment later with the answer. So nobody
looks for replies of a node that is away, until it is back or was away for too long.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from logging import WARNING

from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common import log
from flwr.serverapp import Grid

from semfed.flower.compat import NO_REPLY, online_until
from semfed.flower.protocol import LOST, OPEN, PROBE, STATE
from semfed.flower.server import packed
from semfed.flower.server.outer_grid import OuterGrid
from semfed.flower.server.replies import sentence

POLL_S = 0.25
SILENCE_S = 60.0
ABSENCE_S = 90.0
MARGIN_S = 5.0
"""A node counts as away this long before the SuperLink says so, lest it does between two questions."""


class ReliableGrid(OuterGrid):
    """The grid of a deployment, with messages that arrive.

    Not for simulations: there, a node works on several messages at a time.

    Parameters
    ----------
    grid : Grid
        A SuperLink's, Flower's ``HttpGrid``.
    silence : float
        Seconds after which nodes that owe a reply are probed; every further time is twice as long as the last. A node
        that is busy answers the probe when it is done.
    absence : float
        Seconds that a node may be away before what it was asked counts as lost. Flower calls away who was not heard
        for a minute; a SuperNode that lost the line tries again every 25 s at the latest.
    poll : float
        Seconds between two looks for replies.

    Attributes
    ----------
    remind : callable
        Gets a node that has lost the run's state, and returns what opens the trial there once more; None where its
        clients cannot go on from what is kept of them.
    """

    def __init__(
        self, grid: Grid, *, silence: float = SILENCE_S, absence: float = ABSENCE_S, poll: float = POLL_S
    ) -> None:
        super().__init__(grid)
        self.silence, self.absence, self.poll = silence, absence, poll
        self.remind: Callable[[int], RecordDict | None] = lambda node: None
        self._nodes: dict[str, int] = {}
        """Nodes that owe a reply, by the message's id."""
        self._known: set[int] = set()
        self._away_since: dict[int, float] = {}
        self._again: dict[str, Message] = {}
        """Messages that were sent again, as they were given, by the id that they have now."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Send messages, at most one to each node, and give their replies as they come.

        Parameters
        ----------
        messages : iterable of Message
        timeout : float, optional
            Seconds for all of them together.

        Yields
        ------
        Message
            An error where the SuperLink did not take the message, or the reply was lost.
        """
        given, start, probe_at = list(messages), time.monotonic(), self.silence
        taken = list(self.push_messages(given)) or [""] * len(given)
        waiting = {message.metadata.message_id: message for message, id_ in zip(given, taken, strict=True) if id_}
        for message in given:
            if message.metadata.message_id not in waiting:
                yield _no_reply(message, "the SuperLink did not take it")
        probes: dict[str, int] = {}
        while waiting and (timeout is None or time.monotonic() - start < timeout):
            served: dict[int, str] = {}
            again: list[Message] = []
            for reply in self.pull_messages([*waiting, *probes]):
                asked = reply.metadata.reply_to_message_id
                due = waiting.pop(asked, None)
                if due is None:
                    if not reply.has_error():
                        served[probes.pop(asked)] = str(reply.content.config_records[STATE].get("served"))
                elif asked != due.metadata.message_id:  # a reminder, which stands for it
                    problem = _problem(reply)
                    if problem is None:
                        again.append(due)
                    else:
                        yield _no_reply(due, problem)
                elif (reminder := self._reminder(due, reply)) is not None:
                    waiting[reminder] = due
                else:
                    yield reply
            # Only now: where there is a reply to an older message, it has come with the probe's at the latest.
            for asked, message in list(waiting.items()):
                last = served.get(message.metadata.dst_node_id)
                if last is None:
                    continue
                del waiting[asked]
                if last == self._sent_as(asked):
                    yield _no_reply(message, "its reply was lost on the way")
                else:
                    again.append(message)
            for message in again:
                self._send_again(message)
                waiting[message.metadata.message_id] = message
                # A probe that is still under way went out before, and would tell nothing of it.
                probes = {asked: node for asked, node in probes.items() if node != message.metadata.dst_node_id}
            if time.monotonic() - start >= probe_at:
                probe_at *= 2
                probes = self._probe(message.metadata.dst_node_id for message in waiting.values())
            if waiting:
                time.sleep(self.poll)
        for asked, message in waiting.items():
            if asked != message.metadata.message_id:
                yield _no_reply(message, LOST)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have come, to messages as they were given; nodes that are away are not asked for."""
        away, replies = self._away(), []
        sent = [self._sent_as(asked) for asked in message_ids]
        for reply in packed.pull(self.grid, [asked for asked in sent if self._nodes.get(asked) not in away]):
            self._nodes.pop(reply.metadata.reply_to_message_id, None)
            given = self._again.pop(reply.metadata.reply_to_message_id, None)
            replies.append(reply if given is None else Message(_answer(reply), reply_to=given))
        return replies

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Pass on to Flower's grid, packed, and remember which node gets what."""
        given = list(messages)
        taken = packed.push(self.grid, given)
        self._nodes |= {message.metadata.message_id: message.metadata.dst_node_id for message in given}
        return taken

    # -- inside -------------------------------------------------------------------------------------------

    def _away(self) -> set[int]:
        """Return the nodes that were online and may still come back."""
        now, latest = time.monotonic(), time.time() + MARGIN_S
        online = {node for node, until in online_until(self.grid).items() if until > latest}
        for node in self._known - online - self._away_since.keys():
            log(WARNING, "node %d is away; what it was asked is kept for it for %g s", node, self.absence)
            self._away_since[node] = now
        for node in online:
            self._away_since.pop(node, None)
        self._known |= online
        return {node for node, since in self._away_since.items() if now - since < self.absence}

    def _sent_as(self, asked: str) -> str:
        """Return the id that a message has now."""
        return next((now for now, given in self._again.items() if given.metadata.message_id == asked), asked)

    def _send_again(self, given: Message) -> None:
        about = given.metadata
        log(WARNING, "a message of type %s to node %d is sent again", about.message_type, about.dst_node_id)
        self._again.pop(self._sent_as(about.message_id), None)
        copy = Message(given.content, about.dst_node_id, about.message_type, group_id=about.group_id, ttl=about.ttl)
        self.push_messages([copy])
        self._again[copy.metadata.message_id] = given

    def _reminder(self, message: Message, reply: Message) -> str | None:
        """Tell a node the trial again if it has lost it; return the id of what it is told, None if it is nothing."""
        node = message.metadata.dst_node_id
        lost = reply.has_error() and sentence(reply.error) == LOST
        content = self.remind(node) if lost else None
        if content is None:
            return None
        log(WARNING, "node %d has lost the run's state; it is told the trial again", node)
        (told,) = self.push_messages([Message(content, node, OPEN)])
        return told or None

    def _probe(self, nodes: Iterable[int]) -> dict[str, int]:
        probes = [Message(RecordDict(), node, PROBE) for node in nodes]
        self.push_messages(probes)
        return {probe.metadata.message_id: probe.metadata.dst_node_id for probe in probes}


def _answer(reply: Message) -> RecordDict | Error:
    return reply.error if reply.has_error() else reply.content


def _problem(reply: Message) -> str | None:
    """Return why a node could not open a trial, None if it could."""
    if reply.has_error():
        return sentence(reply.error)
    problem = reply.content.get("error")
    return str(problem["message"]) if isinstance(problem, ConfigRecord) else None


def _no_reply(message: Message, reason: str) -> Message:
    return Message(Error(NO_REPLY, reason), reply_to=message)
