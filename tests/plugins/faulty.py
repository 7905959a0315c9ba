"""A third-party client plugin, as a user would write it: found by ``faulty:FailingClient`` on the Python path."""

from typing import Any

from semfed.clients.multitask import MultitaskClient

from semfed.settings import StrictModel


class FailingClient(MultitaskClient):
    """Trains like its base, but one client raises in one round."""

    class Settings(StrictModel):
        client: int
        round: int

    def fit(self, parameters: Any, config: dict[str, Any]) -> Any:
        settings = self.session.scenario.learner.settings
        if (self.session.client, config["server-round"]) == (settings.client, settings.round):
            raise RuntimeError("as asked")
        return super().fit(parameters, config)
