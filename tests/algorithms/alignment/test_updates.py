import pytest
import torch
from torch import Tensor

from semfed.algorithms.alignment.reference import reference_channel, reference_equalizer
from semfed.algorithms.alignment.solver import access_point_step
from semfed.algorithms.alignment.updates import (
    Consensus,
    UserStatistics,
    admm_precoder,
    bcd_precoder,
    equalizer,
    into_ball,
    mean,
    objective,
    solve,
    square,
    user_step,
)

C = torch.complex128


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=C)


def link(seed: int, noise: float = 0.1) -> UserStatistics:
    return UserStatistics(draw(6, 5, seed=seed) / 10, 6.0, draw(4, 4, seed=seed + 1), noise)


def test_equalizer_is_where_the_objective_is_flat() -> None:
    one, f = link(1), draw(4, 5, seed=9)
    best = equalizer(one, f)
    lowest = objective(one, f, best)
    for seed in range(5):
        step = 1e-4 * draw(6, 4, seed=seed)
        up, down = objective(one, f, best + step), objective(one, f, best - step)
        assert up > lowest
        assert up - down == pytest.approx(0, abs=1e-12)


def test_precoder_from_the_means_satisfies_the_stacked_normal_equations() -> None:
    links, f, rho = [link(seed) for seed in (1, 2, 3)], draw(4, 5, seed=9), 0.7
    state = Consensus(f, draw(4, 5, seed=10), draw(4, 5, seed=11))
    told = [user_step(one, equalizer(one, f)) for one in links]
    found = admm_precoder(state, mean([a for a, _ in told]), mean([d for _, d in told]), rho)
    seen = torch.cat([equalizer(one, f) @ one.response for one in links])
    wanted = torch.cat([one.correlation for one in links])
    penalty = rho * len(links)
    left = (seen.mH @ seen + penalty * torch.eye(4, dtype=C)) @ found
    right = seen.mH @ wanted + penalty * (state.feasible - state.dual)
    assert (left - right).abs().max() < 1e-12


def test_bcd_precoder_is_the_best_within_the_power() -> None:
    one, f = link(1, noise=0.0), draw(4, 5, seed=9)
    gram, match = user_step(one, equalizer(one, f))
    unlimited = bcd_precoder(gram, match, 1e9)
    assert (gram @ unlimited - match).abs().max() < 1e-10
    limited = bcd_precoder(gram, match, 0.3)
    assert float(square(limited)) == pytest.approx(0.3, rel=1e-9)

    def cost(precoder: Tensor) -> float:
        chain = (precoder.mH @ gram @ precoder).diagonal().real.sum()
        return float(chain - 2 * (match.conj() * precoder).sum().real)

    for seed in range(20):
        other = into_ball(limited + 0.05 * draw(4, 5, seed=seed), 0.3)
        assert cost(other) >= cost(limited) - 1e-12


def test_into_ball_leaves_what_is_inside() -> None:
    inside = draw(2, 2) / 100
    assert torch.equal(into_ball(inside, 1.0), inside)
    assert float(square(into_ball(100 * inside * 100, 1.0))) == pytest.approx(1)


def test_singular_systems_are_solved_in_the_least_squares_sense() -> None:
    vector = draw(3, 1)
    singular = vector @ vector.mH
    assert (singular @ solve(singular, vector) - vector).abs().max() < 1e-10


def test_a_missing_user_leaves_a_valid_step() -> None:
    state = Consensus.begin(into_ball(draw(4, 5, seed=9), 1.0))
    told = [user_step(link(seed), equalizer(link(seed), state.precoder)) for seed in (1, 2)]
    step = access_point_step("admm", state, [told[1][0]], [told[1][1]], rho=1.0, power=1.0)
    alone = admm_precoder(state, *told[1], 1.0)
    assert (step.precoder - alone).abs().max() < 1e-14
    assert float(square(step.feasible)) <= 1 + 1e-9


def test_reference_regularises_every_entry_and_models_another_channel() -> None:
    one, f, pilots = link(1), draw(4, 5, seed=9), 50
    through = one.response @ f
    full = through @ through.mH + pilots / (pilots - 1) * 0.1**0.5 * (1 + 1j) * torch.ones(4, 4, dtype=C)
    found = reference_equalizer(one, f, pilots)
    assert (found @ full - one.correlation @ through.mH).abs().max() < 1e-9
    response, snr_db = reference_channel(draw(2, 4), 20.0, 3)
    assert (response * 2**0.5 - draw(2, 4)).abs().max() < 1e-12
    ours = 1 / (4 * 3 * 10 ** (snr_db / 10))
    assert ours == pytest.approx(1 / (2 * 100 * 3**2))
