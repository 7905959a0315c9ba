"""The in-process engine: a Flower ``Grid`` that calls the client app directly. No server, no Ray, no polling."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flwr.app import Message
from flwr.clientapp import ClientApp

from semfed.engine.nodes import AT_ONCE, Nodes, ServerlessGrid, Together
from semfed.engine.spill import BUDGET_MB, StateSpill


class InProcessGrid(ServerlessGrid):
    """Nodes that live in this process and are served one after the other, in the order of the messages.

    Parameters
    ----------
    client_app : ClientApp
        What runs on every node.
    nodes : int
        Number of nodes; node ids are 2, 3, ... and partition ids 0, 1, ...
    run_config : mapping, optional
        Flower's run config, as clients see it.
    state_memory_mb : float
        Megabytes of client states that stay in memory; the others lie on disk until they are needed.
    together, at_once
        See `Nodes`.
    """

    def __init__(
        self,
        client_app: ClientApp,
        nodes: int,
        run_config: Mapping[str, Any] | None = None,
        *,
        state_memory_mb: float = BUDGET_MB,
        together: Together | None = None,
        at_once: int = AT_ONCE,
    ) -> None:
        super().__init__(nodes)
        spill = StateSpill(state_memory_mb)
        self.nodes = Nodes(client_app, range(nodes), nodes, run_config or {}, spill, together=together, at_once=at_once)

    def exchange(
        self, nodes: Sequence[int], make: Callable[[int], Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Let the nodes answer, each when its reply is asked for, so that no two replies need memory at a time.

        There is nothing to wait for, so `timeout` has no effect.
        """
        return self.nodes.answer_all(self._numbered(make(k)) for k in range(len(nodes)))

    def close(self) -> None:
        """Remove what lies on disk."""
        self.nodes.close()
