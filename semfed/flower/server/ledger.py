"""The server's half of checkpoints: which node keeps what, and which clients it still has to ask."""

from collections.abc import Iterable, Mapping

from flwr.app import ConfigRecord, Message, RecordDict

from semfed.checkpoint import StateRef
from semfed.flower.protocol import KEEP, STATE
from semfed.flower.server.exchange import Envelope, Exchange
from semfed.flower.server.replies import sentence


class Ledger:
    """Books of one trial.

    A state is asked for with the message that evaluates a client, which is the last of a round as a rule, so that it
    costs no message of its own. Clients that have changed since are asked by `KEEP` at the end of the round. Where a
    node that is started anew finds states on its disk, every message asks for them.

    Parameters
    ----------
    run : str
        Name of the run; empty to keep nothing.
    marks : mapping of int to StateRef
        What nodes keep from before.

    Attributes
    ----------
    able : bool
        Whether states can be kept; the nodes say that when the trial is opened.
    durable : bool
        Whether a node that is started anew finds them again; likewise.
    due : int or None
        The round at whose end there will be a checkpoint.
    marks : dict of int to StateRef
    """

    def __init__(self, run: str = "", marks: Mapping[int, StateRef] | None = None) -> None:
        self.run = run
        self.able = self.durable = False
        self.due: int | None = None
        self.marks = dict(marks or {})
        self._committed = {client: mark.round for client, mark in self.marks.items()}
        self._changed: set[int] = set()

    def address(self, client: int, message: Message) -> Envelope:
        """Put a client's message into an envelope, with what else is asked of it."""
        return Envelope(message, {"client": client, **self.order(client, message.metadata.message_type)})

    def order(self, client: int, phase: str) -> dict[str, int]:
        """Return what a message asks for beside its purpose."""
        asks = phase == KEEP or phase.startswith(("evaluate", "train") if self.durable else "evaluate")
        if self.due is None or not asks:
            return {}
        return {"keep": self.due, "committed": self._committed.get(client, -1)}

    def keep(self, exchange: Exchange, timeout: float) -> dict[int, str]:
        """Let all nodes keep the states of clients that have answered in the round that is due.

        Parameters
        ----------
        exchange : Exchange
        timeout : float
            Seconds for all of them together.

        Returns
        -------
        dict of int to str
            Why the state of a client is not kept; the checkpoint is whole if none is `unkept`.
        """
        for client in exchange.late:  # nobody used its reply, but its state has changed
            self.heard(client)
        exchange.late.clear()
        asked = {k: Message(RecordDict(), k, KEEP, group_id=str(self.due)) for k in self.unkept}
        replies = dict(exchange.ask({k: self.address(k, message) for k, message in asked.items()}, timeout))
        told = {
            client: sentence(reply.error) if reply.has_error() else self.take(client, reply)
            for client, reply in sorted(replies.items())
        }
        return {client: problem for client, problem in told.items() if problem is not None}

    def take(self, client: int, reply: Message) -> str | None:
        """Take the adapter's record out of a reply without error, and `note` it."""
        answer = reply.content.pop(STATE, None)
        return self.note(client, answer if isinstance(answer, ConfigRecord) else None)

    def note(self, client: int, answer: ConfigRecord | None) -> str | None:
        """Note the adapter's record of a reply, None if there is none; return why a state was not kept, if so."""
        self.heard(client)
        if answer is None:
            return None
        if "problem" in answer:
            return str(answer["problem"])
        self._changed.discard(client)
        if self.due is not None and answer["kept"]:
            self.marks[client] = StateRef(self.due, str(answer["kept"]))
        return None

    def heard(self, client: int) -> None:
        """Note that a client has answered: what is kept of it is not its state any more, until its reply is read."""
        self._changed.add(client)

    def recall(self, clients: Iterable[int]) -> dict[int, StateRef] | None:
        """Return what a node that lost its clients' states goes on from; None if what is kept is older than they."""
        own = set(clients)
        if not self.durable or own & self._changed:
            return None
        return {client: mark for client, mark in self.marks.items() if client in own}

    @property
    def unkept(self) -> list[int]:
        """Clients that have answered since their state was kept last."""
        return sorted(self._changed)

    def commit(self) -> None:
        """Take note that a checkpoint with the present marks is complete."""
        self._committed = {client: mark.round for client, mark in self.marks.items()}
