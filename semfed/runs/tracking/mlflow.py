"""MLflow: an experiment with the scenario's name, and in it a run for every arm and seed."""

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from semfed.runs.tracking.base import Tracker
from semfed.scenario import Scenario
from semfed.scenario.flat import flat

MOST_PARAMS, LONGEST = 100, 500
"""Of what MLflow takes at once, and of a value's text."""
KEY = "semfed.trial"


class MLflow(Tracker):
    """Logs to where MLflow would: ``MLFLOW_TRACKING_URI``, or its own default."""

    name = "mlflow"

    def begin(self, arm: str, seed: int, scenario: Scenario, done: int) -> None:
        """Create a run, or go on with the one that was begun."""
        self._client, own = MlflowClient(), self.identity(arm, seed)
        experiment = self._experiment(self._scenario.name)
        known = self._client.search_runs([experiment], f"tags.`{KEY}` = '{own}'") if done else []
        if known:
            self._id = known[0].info.run_id
            self._client.update_run(self._id, "RUNNING")
            return
        tags = {KEY: own, "semfed.folder": str(self.folder)}
        self._id = self._client.create_run(experiment, tags=tags, run_name=f"{arm} seed {seed}").info.run_id
        config = dict(flat({"arm": arm, "seed": seed, **scenario.tree()}))
        params = [Param(_allowed(name), str(value)[:LONGEST]) for name, value in config.items()]
        for some in _parts(params):
            self._client.log_batch(self._id, params=some)

    def log(self, round_: int, values: Mapping[str, float]) -> None:
        """Log a round as a step."""
        now = int(1000 * time.time())
        self._client.log_batch(self._id, [Metric(_allowed(name), value, now, round_) for name, value in values.items()])

    def end(self, result: Mapping[str, Any], *, failed: bool) -> None:
        """Finish the run."""
        self._client.log_batch(self._id, tags=[RunTag(_allowed(name), str(value)) for name, value in result.items()])
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:  # another process was quicker
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)


def _allowed(name: str) -> str:
    """Return a name in the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    yield from (items[k : k + MOST_PARAMS] for k in range(0, len(items), MOST_PARAMS))
