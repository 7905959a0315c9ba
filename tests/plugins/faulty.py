"""Third-party client plugins, as a user would write them: found by ``faulty:FailingClient`` on the Python path."""

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from semfed.clients.multitask import MultitaskClient

from semfed.events.metrics import Metric
from semfed.scenario.settings import StrictModel


class FailingClient(MultitaskClient):
    """Trains like its base, but one client fails in one round."""

    class Settings(StrictModel):
        client: int
        round: int
        how: str = "raise"
        once: str = ""
        """A file that is made by the failure and prevents the next one."""
        seconds: float = 15
        everyone: bool = False

    def fit(self, parameters: Any, config: dict[str, Any]) -> Any:
        settings = self.session.scenario.learner.settings
        due = config["server-round"] == settings.round and (settings.everyone or self.session.client == settings.client)
        if due and not (settings.once and Path(settings.once).exists()):
            if settings.once:
                Path(settings.once).touch()
            if settings.how == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            elif settings.how == "exit":
                os._exit(1)
            elif settings.how == "exhaust":
                exhaust_memory()
            elif settings.how == "sleep":
                time.sleep(settings.seconds)
            elif settings.how == "raise":
                raise RuntimeError("as asked")
            else:
                arrays, samples, metrics = super().fit(parameters, config)
                return spoil(arrays, settings.how), samples, metrics
        return super().fit(parameters, config)


class CountingClient(FailingClient):
    """Fails like its base and tells how often it has been trained, which it keeps to itself."""

    metrics = (Metric("visits", role="detail"),)

    def fit(self, parameters: Any, config: dict[str, Any]) -> Any:
        visits = (self.session.load("visits") or {"count": np.zeros(1)})["count"] + 1
        arrays, samples, metrics = super().fit(parameters, config)
        self.session.save("visits", {"count": visits})
        return arrays, samples, {**metrics, "visits": float(visits[0])}


def exhaust_memory() -> None:
    """Take memory until the system gives no more; a limit of this process stands in for a full machine."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, limits[1]))
    taken = []
    try:
        while True:
            taken.append(np.ones(2**22))
    finally:
        taken.clear()
        resource.setrlimit(resource.RLIMIT_AS, limits)


def spoil(arrays: list[Any], how: str) -> list[Any]:
    """Return an update that must not be used."""
    first = arrays[0].copy()
    if how in ("nan", "inf"):
        first.flat[0] = float(how)
    elif how == "shape":
        first = first[..., :-1]
    elif how == "dtype":
        first = first.astype(np.float64)
    return [first, *arrays[1:]]
