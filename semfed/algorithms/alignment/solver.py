"""The whole alignment in one process: what the federation must arrive at, message by message."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from semfed.algorithms.alignment.reference import averaged_solutions
from semfed.algorithms.alignment.updates import (
    Consensus,
    UserStatistics,
    admm_precoder,
    admm_step,
    bcd_precoder,
    equalizer,
    into_ball,
    mean,
    objective,
    user_step,
)

Mode = Literal["admm", "bcd", "reference"]


@dataclass(frozen=True)
class Solution:
    """Outcome of `align`.

    Attributes
    ----------
    state : Consensus
    objectives : list of float
        J at Z with the equalizers that fit it, after every round.
    residuals : list of (float, float)
        Primal and dual, after every round.
    """

    state: Consensus
    objectives: list[float]
    residuals: list[tuple[float, float]]


def access_point_step(
    mode: Mode,
    state: Consensus,
    grams: Sequence[Tensor],
    matches: Sequence[Tensor],
    *,
    rho: float,
    power: float,
) -> Consensus:
    """Turn the users' answers A_k and D_k into the next state; a missing user is just not in the means.

    Parameters
    ----------
    mode : {"admm", "bcd", "reference"}
        ADMM, block coordinate descent (J never increases), or the mean of the users' own ADMM solutions.
    """
    if mode == "bcd":
        precoder = bcd_precoder(mean(grams), mean(matches), power)
        return Consensus(precoder, precoder, state.dual)
    if mode == "admm":
        return admm_step(state, admm_precoder(state, mean(grams), mean(matches), rho), power)
    return admm_step(state, averaged_solutions(state, grams, matches, rho), power)


def align(
    links: Sequence[UserStatistics],
    precoder: Tensor,
    *,
    mode: Mode = "admm",
    rounds: int = 30,
    rho: float = 1.0,
    power: float = 1.0,
    tolerance: float = 1e-4,
    relative_tolerance: float = 1e-4,
) -> Solution:
    """Align all users with one precoder.

    Parameters
    ----------
    links : sequence of UserStatistics
        One a user; a single one gives its multi-link bound.
    precoder : Tensor, shape (s, m)
        F to start from.
    rounds : int, default 30
        At most.
    tolerance, relative_tolerance : float, default 1e-4
        Stop when both residuals are below `Consensus.tolerances`; with both 0 all rounds are run.
    """
    state = Consensus.begin(into_ball(precoder, power))
    objectives, residuals = [], []
    for _ in range(rounds):
        told = [user_step(link, equalizer(link, state.precoder)) for link in links]
        before = state
        state = access_point_step(mode, state, [a for a, _ in told], [d for _, d in told], rho=rho, power=power)
        residuals.append(state.residuals(before, rho))
        objectives.append(total_objective(links, state.feasible))
        if state.settled(before, rho, tolerance, relative_tolerance):
            break
    return Solution(state, objectives, residuals)


def total_objective(links: Sequence[UserStatistics], precoder: Tensor) -> float:
    """Return J of a precoder: the mean over users, each with its best equalizer."""
    return sum(objective(link, precoder, equalizer(link, precoder)) for link in links) / len(links)
