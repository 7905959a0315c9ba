"""A third-party client that trains like any other and then cannot say what it has learned."""

from typing import Any

from semfed.clients.multitask import MultitaskClient


class Unwilling(MultitaskClient):
    """The client at index 1 raises when it is asked for its networks."""

    def trained(self, parameters: Any, config: dict[str, Any]) -> Any:
        if self.session.client == 1:
            raise RuntimeError("no networks today")
        return super().trained(parameters, config)
