"""The server's half of checkpoints: which node keeps what, and which clients it still has to ask."""

from collections.abc import Mapping

from flwr.app import ConfigRecord

from semfed.checkpoint import StateRef

KEEP = "query.keep"
"""Type of a message that only asks to keep a state."""


class Ledger:
    """Books of one trial.

    A state is asked for with the message that evaluates a client, which is the last of a round as a rule, so that it
    costs no message of its own. Clients that have changed since are asked by `KEEP` at the end of the round.

    Parameters
    ----------
    run : str
        Name of the run; empty to keep nothing.
    marks : mapping of int to StateRef
        What nodes keep from before.

    Attributes
    ----------
    due : int or None
        The round at whose end there will be a checkpoint.
    marks : dict of int to StateRef
    """

    def __init__(self, run: str = "", marks: Mapping[int, StateRef] | None = None) -> None:
        self.run = run
        self.due: int | None = None
        self.marks = dict(marks or {})
        self._committed = {client: mark.round for client, mark in self.marks.items()}
        self._changed: set[int] = set()

    def order(self, client: int, phase: str) -> dict[str, int]:
        """Return what a message asks for beside its purpose."""
        if self.due is None or not (phase == KEEP or phase.startswith("evaluate")):
            return {}
        return {"keep": self.due, "committed": self._committed.get(client, -1)}

    def note(self, client: int, answer: ConfigRecord | None) -> str | None:
        """Take in the adapter's record of a reply without error; return why a state was not kept, if it was not."""
        self._changed.add(client)
        if answer is None:
            return None
        if "problem" in answer:
            return str(answer["problem"])
        self._changed.discard(client)
        if self.due is not None and answer["kept"]:
            self.marks[client] = StateRef(self.due, str(answer["kept"]))
        return None

    @property
    def unkept(self) -> list[int]:
        """Clients that have answered since their state was kept last."""
        return sorted(self._changed)

    def commit(self) -> None:
        """Take note that a checkpoint with the present marks is complete."""
        self._committed = {client: mark.round for client, mark in self.marks.items()}
