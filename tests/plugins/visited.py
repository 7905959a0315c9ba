"""A client that computes next to nothing and remembers how often it was asked."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semfed import seeding
from semfed.checkpoint.files import Arrays
from semfed.events.metrics import Metric
from semfed.flower.client.base import BaseLearner
from semfed.scenario.settings import StrictModel

Answer = tuple[list[npt.NDArray[Any]], int, dict[str, Any]]


class VisitedClient(BaseLearner):
    """Moves what it gets by noise that depends on all its visits so far, so that a lost one shows."""

    metrics = (Metric("visits", role="detail"),)

    class Settings(StrictModel):
        visit: int = 0
        """With which visit its process dies, once for all clients; 0 for none."""
        once: str = ""
        """A file that is made by it."""
        slow: float = 0.0
        """Seconds that a visit takes the first half of the clients in odd rounds, the second one in even rounds."""
        servants: str = ""
        """A folder where every client notes the processes that serve it."""

    def shared(self) -> Arrays:
        return {"w": np.zeros((20, 7), np.float32), "count": np.zeros((), np.int64)}

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"num-examples": 10}

    def fit(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> Answer:
        settings, client = self.session.scenario.learner.settings, self.session.client
        kept = self.session.load("seen") or {"visits": np.zeros(1), "sum": np.zeros((20, 7), np.float32)}
        visits = int(kept["visits"][0]) + 1
        if visits == settings.visit and not Path(settings.once).exists():
            Path(settings.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if (client < len(self.session.scenario.clients) // 2) == config["server-round"] % 2:
            time.sleep(settings.slow)
        if settings.servants:
            with (Path(settings.servants) / str(client)).open("a") as file:
                file.write(f"{os.getpid()}\n")
        noise = seeding.numpy_generator(0, "visit", client, visits).standard_normal((20, 7), dtype=np.float32)
        total = kept["sum"] + noise
        self.session.save("seen", {"visits": np.array([float(visits)]), "sum": total})
        return [parameters[0] + total, parameters[1] + client], 10 + client % 7, {"visits": float(visits)}

    def evaluate(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        return 0.0, 10, {}
