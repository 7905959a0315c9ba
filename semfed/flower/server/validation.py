"""How the validations of one arm with one seed are followed: which round is the best, and when it is time to stop."""

from collections.abc import Iterable

import numpy as np

from semfed.checkpoint.files import Arrays
from semfed.events.best_round import BestRound
from semfed.events.metrics import VALIDATION, declared_in
from semfed.events.records import Record
from semfed.scenario import Scenario

PROGRESS = ("round", "value", "reference", "waited")
"""What of a `BestRound` changes from round to round."""


class Stop(Exception):
    """Ends an arm early, from within Flower's loop over rounds."""


def begin(scenario: Scenario) -> BestRound | None:
    """Return what follows the validations of one arm's complete scenario, None without a split."""
    if scenario.data.validation is None:
        return None
    name = f"{VALIDATION}/{judged_by(scenario)}"
    metric = declared_in(scenario).of(name)
    if scenario.stop is None:
        return BestRound(metric, name)
    return BestRound(metric, name, scenario.stop.patience, scenario.stop.min_delta)


def judged_by(scenario: Scenario) -> str:
    """Return the metric of the test whose counterpart on the validation split decides which round is the best."""
    chosen: str = scenario.stop.metric if scenario.stop else ""
    return chosen or str(scenario.learner.load().validated(scenario)[0])


def follow(best: BestRound, round_: int, records: Iterable[Record]) -> bool:
    """Take a round's records; return whether this round is the best so far. A round without a validation counts not."""
    values = [record.value for record in records if record.metric == best.name]
    return bool(values) and best.take(round_, best.metric.over(values))


def to_arrays(best: BestRound) -> Arrays:
    """Return what a checkpoint holds of it."""
    return {name: np.array(getattr(best, name)) for name in PROGRESS}


def restore(best: BestRound, kept: Arrays) -> None:
    """Go on from what `to_arrays` returned."""
    for name in PROGRESS:
        setattr(best, name, kept[name].item())
