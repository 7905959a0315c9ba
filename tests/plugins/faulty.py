"""Third-party client plugins, as a user would write them: found by ``faulty:FailingClient`` on the Python path."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from semfed.clients.multitask import MultitaskClient

from semfed.settings import StrictModel


class FailingClient(MultitaskClient):
    """Trains like its base, but one client fails in one round."""

    class Settings(StrictModel):
        client: int
        round: int
        how: str = "raise"
        once: str = ""
        """A file that is made by the failure and prevents the next one."""

    def fit(self, parameters: Any, config: dict[str, Any]) -> Any:
        settings = self.session.scenario.learner.settings
        due = (self.session.client, config["server-round"]) == (settings.client, settings.round)
        if due and not (settings.once and Path(settings.once).exists()):
            if settings.once:
                Path(settings.once).touch()
            if settings.how == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            elif settings.how == "sleep":
                time.sleep(15)
            else:
                raise RuntimeError("as asked")
        return super().fit(parameters, config)
