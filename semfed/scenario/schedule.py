"""How the learning rate changes over the rounds: the scenario's ``[training.schedule]`` table."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from semfed.scenario.settings import StrictModel, only_when


class Schedule(StrictModel):
    """A schedule of ``torch.optim.lr_scheduler``, by its arguments there, whose steps are rounds.

    Rounds, not minibatches: clients with more images take no other learning rate for it, one that missed a round is
    where the others are, and nothing has to be remembered or sent. Within a round the learning rate is constant.
    """

    name: Literal["constant", "step", "cosine"] = "constant"
    """``step`` is ``StepLR``, ``cosine`` is ``CosineAnnealingLR``."""
    step_size: Annotated[int | None, only_when(name="step"), Field(ge=1)] = None
    """``step``: rounds from one decay to the next."""
    gamma: Annotated[float, only_when(name="step"), Field(gt=0)] = 0.1
    """``step``: what the learning rate is multiplied by."""
    T_max: Annotated[int | None, only_when(name="cosine"), Field(ge=1)] = None
    """``cosine``: rounds down to `eta_min`; all rounds after the warm-up if unset. Further rounds go up again."""
    eta_min: Annotated[float, only_when(name="cosine"), Field(ge=0)] = 0.0
    """``cosine``: the least learning rate."""
    warmup: int = Field(default=0, ge=0)
    """Rounds before it, ``total_iters`` of a ``LinearLR`` up to ``training.lr``, joined by ``SequentialLR``."""
    start_factor: float = Field(default=1 / 3, gt=0, le=1)
    """Share of the learning rate in the first round of the warm-up, as in ``LinearLR``."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """Let a name alone stand for the table."""
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _complete(self) -> "Schedule":
        if self.name == "step" and self.step_size is None:
            raise PydanticCustomError("step_size", "schedule 'step' needs step_size, the rounds between two decays")
        if self.name == "constant" and not self.warmup:
            raise PydanticCustomError(
                "schedule", "schedule 'constant' without warmup changes nothing; set warmup, or leave the schedule out"
            )
        return self

    def idle(self, scenario: Any, here: str) -> Any:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        if not self.warmup:
            yield f"{here}.start_factor", f"{here}.warmup is 0"

    def check(self, scenario: Any) -> None:
        """Refuse a warm-up that lasts for all rounds, and a round that would train nothing."""
        if self.warmup >= scenario.rounds:
            raise ValueError(
                f"training.schedule.warmup = {self.warmup} leaves none of {scenario.rounds} rounds; set rounds higher"
            )
        lowest = min(scenario.rounds, self.warmup + self.T_max + 1) if self.T_max else scenario.rounds
        if not self.lr(scenario.training.lr, lowest, scenario.rounds):
            raise ValueError(
                f"training.schedule: the learning rate of '{self.name}' is 0 in round {lowest}, which would train "
                "nothing; raise gamma, eta_min or T_max"
            )

    def lr(self, base: float, round_: int, rounds: int) -> float:
        """Return the learning rate of a round.

        Parameters
        ----------
        base : float
            That of the settings.
        round_ : int
            From 1.
        rounds : int
            Of the scenario.
        """
        done = round_ - 1
        if done < self.warmup:
            return base * (self.start_factor + (1 - self.start_factor) * done / self.warmup)
        done -= self.warmup
        if self.name == "step":
            return base * self.gamma ** (done // (self.step_size or 1))
        if self.name == "cosine":
            period = self.T_max or rounds - self.warmup
            return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * done / period)) / 2
        return base
