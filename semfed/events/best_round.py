"""Which round was the best on the validation split, and whether it is time to stop."""

import math
from dataclasses import dataclass
from typing import Any

from semfed.events.metrics import Metric


@dataclass
class BestRound:
    """Takes the validations of one arm with one seed, round after round.

    Parameters
    ----------
    metric : Metric
        What rounds are judged by; it has a direction.
    name : str
        As it is recorded, ``validation/accuracy/average``.
    patience : int, optional
        After so many validations without an improvement it is time to stop; never if left out.
    min_delta : float, default 0
        An improvement is more than this better than the last one.

    Attributes
    ----------
    round : int
        The first of the best rounds; 0 before any.
    value : float
        The metric in this round, nan before any.
    waited : int
        Validations since the last improvement.
    """

    metric: Metric
    name: str
    patience: int | None = None
    min_delta: float = 0.0
    round: int = 0
    value: float = math.nan
    reference: float = math.nan
    """The metric at the last improvement."""
    waited: int = 0

    def take(self, round_: int, value: float) -> bool:
        """Take a round's value; return whether this round is the best so far. What is not finite improves nothing."""
        if self._better(value, self.reference, self.min_delta):
            self.reference, self.waited = value, 0
        else:
            self.waited += 1
        best = self._better(value, self.value, 0.0)
        if best:
            self.round, self.value = round_, value
        return best

    @property
    def stops(self) -> bool:
        """Whether it is time to stop."""
        return self.patience is not None and self.waited >= self.patience

    def told(self) -> dict[str, Any]:
        """Return the result as values that JSON can hold; the round is None if nothing was ever validated."""
        return {
            "metric": self.name,
            "round": self.round or None,
            "value": self.value if self.round else None,
            "stopped": self.stops,
        }

    def _better(self, value: float, than: float, by: float) -> bool:
        if not math.isfinite(value):
            return False
        gain = value - than if self.metric.better == "higher" else than - value
        return math.isnan(than) or gain > by
