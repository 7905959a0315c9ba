"""Checks of strategies, on a small federation in this process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord

from semfed.errors import FederationError
from semfed.flower.server.strategy import FederatedStrategy
from semfed.scenario import Scenario
from semfed.scenario.plugins import Plugin
from semfed.testing import trials
from semfed.testing.check import Subject, require, skip
from semfed.testing.kit import Kit, Part


@dataclass(frozen=True)
class StrategySubject(Subject):
    """A strategy in its scenario.

    Attributes
    ----------
    scenario : Scenario
    """

    scenario: Scenario

    @property
    def ours(self) -> bool:
        """Whether it is of this package's kind, with a quorum."""
        return issubclass(self.choice.load(), FederatedStrategy)


def _subject(choice: Plugin, around: Mapping[str, Any] | None = None) -> StrategySubject:
    return StrategySubject(choice, trials.small("strategy", choice, around or {}))


KIT = Kit("strategies", _subject)


def check_strategy(part: Part, *, around: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Run all checks of a strategy.

    Parameters
    ----------
    part : str, type or mapping
        Its name, the class, or a table with ``name`` and settings.
    around : mapping, optional
        What of the small scenario is to be otherwise, such as ``{"learner": "multitask"}``; see
        `semfed.testing.trials.SMALL`.

    Returns
    -------
    dict of str to str
        By check, ``passed``, or why it does not apply.

    Raises
    ------
    CheckFailed
        With one line for every check that failed.
    """
    return KIT.run(part, around=around)


def _alike(one: ArrayRecord | None, other: ArrayRecord | None) -> bool:
    """Whether arrays agree up to the rounding of another order of sums."""
    if one is None or other is None:
        return one is other
    pairs = [(array.numpy(), other[name].numpy()) for name, array in one.items() if name in other]
    return len(pairs) == len(one) == len(other) and all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs)


@KIT.check
def equal_seeds_give_equal_numbers(subject: StrategySubject) -> None:
    """Twice in one process, one after the other."""
    require(
        trials.repeats(subject.scenario),
        "two runs with one seed differ: draw from semfed.seeding by seed, purpose and round, and keep nothing in the "
        "class",
    )


@KIT.check
def order_of_replies_does_not_matter(subject: StrategySubject) -> None:
    """Who answers first depends on machines; up to the rounding of sums."""
    require(
        _alike(trials.exchanged(subject.scenario), trials.exchanged(subject.scenario, backwards=True)),
        "replies in the opposite order give other arrays: take them from usable(), which puts them in order",
    )


@KIT.check
def a_lost_reply_does_no_harm(subject: StrategySubject) -> None:
    """One client of three fails in every exchange, and there is still a finite result."""
    arrays = trials.exchanged(subject.scenario, lost=[0]) or ArrayRecord()
    bad = [name for name, array in arrays.items() if not np.isfinite(array.numpy()).all()]
    require(not bad, f"without one client's reply the arrays {bad} are not finite: leave out what has an error")


@KIT.check
def fewer_replies_than_the_quorum_end_the_run(subject: StrategySubject) -> None:
    """With ``quorum = 1`` one lost reply is too many."""
    if not subject.ours:
        skip("Flower's own strategies have no quorum")
    demanding = subject.scenario.model_copy(update={"strategy": subject.choice.amended(quorum=1.0)})
    try:
        trials.exchanged(demanding, lost=[0])
    except FederationError:
        return
    require(False, "with quorum = 1 a lost reply ends nothing: take replies from usable(), which counts them")


@KIT.check
def a_resumed_run_gives_the_same_numbers(subject: StrategySubject) -> None:
    """Check an end after the first round, and the rest later; or a refusal before the first."""
    trials.require_equal(
        subject.scenario,
        *trials.interrupted(subject.scenario),
        "a run that goes on after its first round ends with other numbers: keep what changes from round to round in "
        "state() and restore()",
    )
