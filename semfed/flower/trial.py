"""One arm of a scenario with one seed: the unit that a strategy runs and that clients are told about."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache

from semfed import scenario as scenarios
from semfed.scenario import Scenario


@dataclass(frozen=True)
class Trial:
    """What server and clients agree on before the first round.

    Attributes
    ----------
    scenario : Scenario
        Complete scenario of the arm (it has no arms of its own).
    arm : str
    seed : int
    """

    scenario: Scenario
    arm: str
    seed: int

    @cached_property
    def data_key(self) -> str:
        """Text that is equal for trials on the same data with the same number of clients."""
        return f"{len(self.scenario.clients)} {self.scenario.data.model_dump_json()}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the trial as text: equal for equal trials, and quick to ask again."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Write the trial as text, to travel in a message.

        What other seeds there are, and what a person says of the scenario, is not the trial's: so it is the same trial
        in every run, and costs the same.
        """
        about = {name: table for name, table in self.scenario.tree().items() if name not in ("description", "headline")}
        return json.dumps({"arm": self.arm, "seed": self.seed, "scenario": about | {"seeds": [0]}}, sort_keys=True)


@lru_cache(maxsize=64)
def from_json(text: str) -> Trial:
    """Read what `Trial.to_json` wrote; it is validated like a scenario from a file.

    Raises
    ------
    ScenarioError
        If the scenario is not valid here, for example for want of a plugin.
    """
    tree = json.loads(text)
    scenario = _read(json.dumps(tree["scenario"], sort_keys=True))
    return Trial(scenario, str(tree["arm"]), int(tree["seed"]))


@lru_cache(maxsize=8)
def _read(text: str) -> Scenario:
    """Validate an arm's scenario, which comes again with every seed."""
    return scenarios.validate(json.loads(text))
