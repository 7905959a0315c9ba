"""A grid around another: what it does not change, the inner one does."""

from collections.abc import Iterable
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid


class OuterGrid(Grid):
    """Base of grids that stand between strategies and Flower's or an engine's grid.

    Messages go through `send_and_receive`; who can do without whole exchanges overrides the other two ways as well.

    Parameters
    ----------
    grid : Grid
        The inner one.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def set_run(self, run: Any) -> None:
        """Pass on to the inner grid."""
        self.grid.set_run(run)

    @property
    def run(self) -> Any:
        """The inner grid's run."""
        return self.grid.run

    def get_node_ids(self) -> Iterable[int]:
        """Return the inner grid's nodes."""
        return self.grid.get_node_ids()

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message for a node."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not offered."""
        raise NotImplementedError(f"use send_and_receive on a {type(self).__name__}")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not offered."""
        raise NotImplementedError(f"use send_and_receive on a {type(self).__name__}")
