"""Nodes without a server: their contexts, and how they answer messages."""

import traceback
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from semfed.engine.allocator import keep_freed_memory
from semfed.engine.spill import StateSpill
from semfed.events.spans import span
from semfed.flower import compat
from semfed.flower.client.app import share_text

Together = Callable[[Sequence[Message], Sequence[Context]], Sequence[Message | None]]
AT_ONCE = 256
"""Messages whose clients may be served together."""
FIRST_NODE = 2
"""Node ids count from here: Flower's server is node 1."""


class Nodes:
    """Some nodes of a run, with the state that each keeps.

    Parameters
    ----------
    client_app : ClientApp
        What runs on every node.
    indices : iterable of int
        Partition ids of these nodes; node ids are greater by `FIRST_NODE`.
    total : int
        Number of nodes in the whole run.
    run_config : mapping
        Flower's run config, as clients see it.
    spill : StateSpill
        Takes the states that do not fit into memory.
    together : callable, optional
        Serves several ``train`` messages at once, but for those that it answers by None; see
        `semfed.flower.client.app.serve_together`.
    at_once : int, default `AT_ONCE`
        How many messages it is given: so many states are in memory, whatever the spill's budget.
    """

    def __init__(
        self,
        client_app: ClientApp,
        indices: Iterable[int],
        total: int,
        run_config: Mapping[str, Any],
        spill: StateSpill,
        *,
        together: Together | None = None,
        at_once: int = AT_ONCE,
    ) -> None:
        keep_freed_memory()
        self._together, self._at_once = together, at_once
        self._client_app = client_app
        self._spill = spill
        self._total, self._run_config = total, dict(run_config)
        self.contexts = {index + FIRST_NODE: self._context(index) for index in indices}

    @span("client")
    def answer(self, message: Message) -> Message:
        """Let the addressed node answer; an exception becomes an error reply, as in Flower's engines."""
        node = message.metadata.dst_node_id
        context = self.contexts[node]
        self._spill.fetch(node, context.state)
        try:
            reply = self._client_app(message, context)
        except Exception as error:
            reason = f"{traceback.format_exc()}\n{type(error).__name__}: {error}"
            reply = Message(Error(compat.CLIENT_RAISED, reason), reply_to=message)
        self._spill.keep(node, context.state)
        return reply

    def answer_all(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Let nodes answer one after the other, or one cohort after the other, each when its reply is asked for."""
        if self._together is not None:
            messages = list(messages)
            if messages and all(message.metadata.message_type == "train" for message in messages):
                for first in range(0, len(messages), self._at_once):
                    yield from self._answer_together(self._together, messages[first : first + self._at_once])
                return
        for message in messages:
            yield self.answer(message)

    @span("client")
    def _answer_together(self, together: Together, messages: Sequence[Message]) -> list[Message]:
        contexts = [self.contexts[message.metadata.dst_node_id] for message in messages]
        for context in contexts:
            self._spill.fetch(context.node_id, context.state)
        try:
            replies = together(messages, contexts)
        except Exception:  # whose fault it is comes out when they are served one by one
            replies = [None] * len(messages)
        for context, reply in zip(contexts, replies, strict=True):
            if reply is not None:
                self._spill.keep(context.node_id, context.state)
        return [reply or self.answer(message) for message, reply in zip(messages, replies, strict=True)]

    def states(self, nodes: Collection[int]) -> dict[int, RecordDict]:
        """Return the states of some nodes."""
        for node in nodes:
            self._spill.fetch(node, self.contexts[node].state)
        return {node: self.contexts[node].state for node in nodes}

    def restore(self, states: Mapping[int, RecordDict]) -> None:
        """Put states back, or take over those of other nodes."""
        for node, state in states.items():
            self._spill.forget(node)
            if node not in self.contexts:
                self.contexts[node] = self._context(node - FIRST_NODE)
            share_text(state)
            self.contexts[node].state = state
            self._spill.keep(node, state)

    def forget(self, nodes: Iterable[int]) -> None:
        """Drop nodes that are served elsewhere now."""
        for node in nodes:
            self.contexts.pop(node, None)
            self._spill.forget(node)

    def close(self) -> None:
        """Remove what lies on disk."""
        self._spill.close()

    def _context(self, index: int) -> Context:
        return Context(
            run_id=0,
            node_id=index + FIRST_NODE,
            node_config={"partition-id": index, "num-partitions": self._total},
            state=RecordDict(),
            run_config=dict(self._run_config),
        )


class ServerlessGrid(Grid):
    """What grids without a SuperLink have in common; a subclass says how it exchanges messages.

    Parameters
    ----------
    nodes : int
        Number of nodes.
    """

    folds: ClassVar[bool] = False
    """Whether replies' arrays are summed where they are made, if messages allow it: `semfed.flower.partial_sums`."""

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes
        self._sent = 0
        self._replies: dict[str, Message] = {}

    @abstractmethod
    def exchange(
        self, nodes: Sequence[int], make: Callable[[int], Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Exchange messages; see `semfed.flower.server.exchange.MakesMessages`."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages and give their replies as they come; late ones may be pulled."""
        sent = list(messages)
        return self.exchange([message.metadata.dst_node_id for message in sent], sent.__getitem__, timeout=timeout)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes, in the order of their partition ids."""
        return list(range(FIRST_NODE, FIRST_NODE + self._nodes))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let the addressed nodes answer at once; the replies wait to be pulled."""
        batch = list(messages)
        for reply in self.send_and_receive(batch):
            self._replies[reply.metadata.reply_to_message_id] = reply
        return [message.metadata.message_id for message in batch]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to messages that were pushed, each once."""
        return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message for a node."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def set_run(self, run: Any) -> None:
        """Nothing to do: there is one run, number 0."""

    @property
    def run(self) -> Any:
        """No run of a SuperLink stands behind this grid."""
        return None

    def _numbered(self, message: Message) -> Message:
        """Give a message its id, as a SuperLink would."""
        self._sent += 1
        return compat.number(message, f"message-{self._sent}")
