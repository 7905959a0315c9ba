"""When an arm stops before its last round: the scenario's ``[stop]`` table."""

from typing import Any

from pydantic import Field

from semfed.scenario.settings import StrictModel


class Stopping(StrictModel):
    """Early stopping by the validation split, never by the test set."""

    metric: str = ""
    """What rounds are judged by, as the history names it for the test: ``accuracy/average`` is taken from
    ``validation/accuracy/average``. Unset, it is the one that is customary with the learner."""
    patience: int = Field(ge=1)
    """So many validations in a row without an improvement end the arm with this seed."""
    min_delta: float = Field(default=0.0, ge=0)
    """What the metric has to gain on the last improvement to be one; a gain of just this is none."""

    def check(self, scenario: Any) -> None:
        """Refuse to stop without a validation split, or by what is not measured on it."""
        if scenario.data.validation is None:
            raise ValueError(
                f"stop.patience = {self.patience}: there is no validation split to judge rounds by; set "
                "data.validation, such as 0.1, or leave stop out"
            )
        known = getattr(scenario.learner.load(), "validated", None)
        names = known(scenario) if known is not None else ()
        if self.metric and names and self.metric not in names:
            raise ValueError(
                f"stop.metric = {self.metric!r} is not measured on a validation split by learner "
                f"{scenario.learner.name!r}; choose one of " + ", ".join(map(repr, names))
            )
