"""What clients protect: the scenario's ``[privacy]`` table; `semfed.algorithms.privacy` computes with it."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from semfed.scenario.settings import StrictModel


class LabelPrivacy(StrictModel):
    """Protection of the label distribution that a client tells before training."""

    epsilon: float = Field(gt=0)
    """Of every telling, which happens once an arm and seed."""


class UpdatePrivacy(StrictModel):
    """Protection of the model updates that a client sends after training."""

    clipping_norm: float = Field(gt=0)
    """Largest 2-norm C of an update, over all arrays; longer ones are shortened."""
    epsilon: float = Field(gt=0)
    """Sets the noise, by Flower's classical calibration: of standard deviation 2 C sqrt(2 ln(1.25 / delta)) / epsilon.
    What rounds really cost is `semfed.algorithms.privacy.spent`: less than this in one round up to epsilon 8.4 at delta
    1e-5, more beyond, where the calibration, a theorem below 1, no longer holds."""
    delta: float = Field(gt=0, lt=1)
    """Of one round, and of the total that is reported."""

    @property
    def sensitivity(self) -> float:
        """Any two updates of norm at most C differ by at most 2 C in the 2-norm."""
        return 2.0 * self.clipping_norm


class Privacy(StrictModel):
    """What clients protect; nothing by default."""

    noise: Literal["secret", "seeded"] = "secret"
    """``secret`` noise comes from the operating system and differs in every run. ``seeded`` noise comes from the
    scenario's seed: whoever knows the seed, such as the server, can take it off, so it serves simulations alone."""
    labels: LabelPrivacy | None = None
    """Laplace noise on the label counts that clients tell; unset, none."""
    updates: UpdatePrivacy | None = None
    """Clipping and Gaussian noise on the updates that clients send; unset, none."""

    def idle(self, scenario: Any, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        if self.labels is None and self.updates is None:
            yield f"{here}.noise", "nothing is protected; set privacy.labels or privacy.updates"
        if not getattr(scenario.learner.load(), "tells_labels", True):
            yield f"{here}.labels", f"learner '{scenario.learner.name}' never tells its label distribution"
        if not getattr(scenario.strategy.settings, "exchange", True):
            yield f"{here}.updates", "with strategy.exchange = false no updates are sent"
