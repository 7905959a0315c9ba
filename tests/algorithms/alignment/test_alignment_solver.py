"""Oracles and closed forms of the alignment problem, on exact data whose optimum is known."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semfed.algorithms.alignment.pairing import Options, make_receiver, make_sender, user_statistics
from semfed.algorithms.alignment.solver import Mode, align, total_objective
from semfed.algorithms.alignment.updates import Consensus, UserStatistics, equalizer, square

C = torch.complex128


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=C)


def correlations(*matrices: Sequence[Sequence[float]] | Tensor) -> list[Tensor]:
    """R_k as measured on exact data: X and Y_k = R_k X + (I - R_k R_k^H)^(1/2) Q_k with orthonormal blocks."""
    targets = [torch.as_tensor(matrix, dtype=C) for matrix in matrices]
    m, pilots = targets[0].shape[1], 200
    noise = draw(pilots, m + sum(len(r) for r in targets), seed=5)
    noise = torch.linalg.qr(noise - noise.mean(dim=0))[0].T * (pilots - 1) ** 0.5
    x, rest, found = noise[:m], noise[m:], []
    for r in targets:
        values, vectors = torch.linalg.eigh(torch.eye(len(r), dtype=C) - r @ r.mH)
        root = vectors @ torch.diag(values.clamp_min(0).sqrt()).to(C) @ vectors.mH
        y, rest = r @ x + root @ rest[: len(r)], rest[len(r) :]
        assert (y @ y.mH / (pilots - 1) - torch.eye(len(r))).abs().max() < 1e-10
        found.append(y @ x.mH / (pilots - 1))
    return found


def link(correlation: Tensor, response: Tensor, noise: float = 0.0) -> UserStatistics:
    return UserStatistics(correlation, float(len(correlation)), response.to(C), noise)


def reached(links: list[UserStatistics], mode: Mode, rounds: int = 300, *, symbols: int, power: float = 1.0) -> float:
    start = draw(symbols, links[0].correlation.shape[1], seed=3)
    return align(links, start, mode=mode, rounds=rounds, tolerance=0, relative_tolerance=0, power=power).objectives[-1]


SOLVERS: list[Mode] = ["admm", "bcd"]


def diagonal(*values: float) -> Tensor:
    return torch.diag(torch.tensor(values, dtype=torch.float64))


@pytest.mark.parametrize("mode", SOLVERS)
def test_one_noisy_symbol(mode: Mode) -> None:
    (r,) = correlations(diagonal(0.9, 0.5))
    assert reached([link(r, torch.eye(1), 0.1)], mode, symbols=1) == pytest.approx(2 - 0.81 / 1.1, abs=1e-6)
    assert pytest.approx(1.263636, abs=1e-6) == 2 - 0.81 / 1.1


@pytest.mark.parametrize("mode", SOLVERS)
def test_two_symbols_without_noise(mode: Mode) -> None:
    (r,) = correlations(diagonal(0.9, 0.5))
    assert reached([link(r, torch.eye(2))], mode, symbols=2) == pytest.approx(0.94, abs=1e-9)


def two_users() -> list[UserStatistics]:
    found = correlations(diagonal(0.9, 0.5), diagonal(0.3, 0.8))
    return [link(r, draw(1, 1, seed=seed)) for r, seed in zip(found, (1, 2), strict=True)]


@pytest.mark.parametrize("mode", SOLVERS)
def test_two_users_share_one_symbol(mode: Mode) -> None:
    assert reached(two_users(), mode, 1000, symbols=1) == pytest.approx(1.55, abs=1e-6)


def test_one_precoder_per_user_is_a_lower_bound_of_the_error() -> None:
    alone = [reached([one], "admm", symbols=1) for one in two_users()]
    assert sum(alone) / 2 == pytest.approx(1.275, abs=1e-6)


def test_averaging_the_users_solutions_misses_the_optimum() -> None:
    biased = reached(two_users(), "reference", symbols=1)
    assert biased == pytest.approx(1.5532, abs=1e-4)
    assert biased > 1.55 + 1e-3


@pytest.mark.parametrize("mode", SOLVERS)
def test_a_unitary_map_is_undone_from_the_first_round(mode: Mode) -> None:
    (r,) = correlations(torch.linalg.qr(draw(3, 3, seed=7))[0])
    solution = align(
        [link(r, draw(3, 3, seed=8))], draw(3, 3, seed=9), mode=mode, rounds=5, tolerance=0, relative_tolerance=0
    )
    assert max(map(abs, solution.objectives)) < 1e-9


@pytest.mark.parametrize("widely_linear", [False, True])
def test_a_real_rotation_needs_the_widely_linear_option(widely_linear: bool) -> None:
    generator = torch.Generator().manual_seed(11)
    latents = torch.randn(16, 400, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64))[0]
    options = Options(widely_linear=widely_linear)
    sender = make_sender(latents, options)
    receiver = make_receiver(sender, rotation @ latents, options, owner="user")
    response = draw(8, 8, seed=12)
    one = user_statistics(receiver, response, 0.0, options)
    start = torch.randn(one.response.shape[1], len(sender.white), generator=generator, dtype=sender.white.dtype)
    final = align([one], start, mode="bcd", rounds=20, tolerance=0, relative_tolerance=0).objectives[-1]
    limit = one.energy - float(square(receiver.correlation))
    assert final == pytest.approx(limit, abs=1e-8)
    assert final < 1e-8 if widely_linear else final > 1


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**20), symbols=st.integers(1, 3))
def test_one_user_without_noise_keeps_the_largest_singular_values(seed: int, symbols: int) -> None:
    left, right = (torch.linalg.qr(draw(4, 4, seed=seed + k))[0] for k in (0, 1))
    one = link(left @ diagonal(0.95, 0.7, 0.4, 0.2).to(C) @ right, draw(symbols, symbols, seed=seed + 2))
    expected = 4 - sum(value**2 for value in (0.95, 0.7, 0.4)[:symbols])
    assert reached([one], "bcd", 100, symbols=symbols) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mode", SOLVERS)
def test_users_without_noise_share_the_largest_eigenvalues(mode: Mode) -> None:
    found = [contraction(width, 5, seed=31 + k) for k, width in enumerate((3, 4, 6))]
    gram = torch.stack([r.mH @ r for r in found]).sum(dim=0)
    expected = (13 - float(torch.linalg.eigvalsh(gram)[-2:].sum())) / 3
    links = [link(r, draw(2, 2, seed=41 + k)) for k, r in enumerate(found)]
    assert reached(links, mode, symbols=2) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
def test_one_noisy_user_fills_water(noise: float) -> None:
    (r,) = correlations(diagonal(0.9, 0.7, 0.2))
    response = draw(3, 3, seed=21)
    w, g = torch.linalg.svdvals(r).square(), torch.linalg.svdvals(response).square()
    low, high = 1e-9, 1e9
    for _ in range(300):
        mu = (low * high) ** 0.5
        p = ((w * noise / (g * mu)).sqrt() - noise / g).clamp_min(0)
        low, high = (mu, high) if p.sum() > 1 else (low, mu)
    expected = 3 - float((w * g * p / (g * p + noise)).sum())
    assert reached([link(r, response, noise)], "bcd", symbols=3) == pytest.approx(expected, abs=1e-4)


def contraction(rows: int, columns: int, seed: int) -> Tensor:
    matrix = draw(rows, columns, seed=seed)
    return matrix / (1.1 * torch.linalg.matrix_norm(matrix, 2))


def realistic(seed: int, users: int = 3, symbols: int = 4, features: int = 12) -> list[UserStatistics]:
    """Links at 20 dB."""
    noise = 1 / (symbols * 100)
    return [
        link(contraction(features - k, features, seed + k), draw(symbols, symbols, seed=seed + 50 + k), noise)
        for k in range(users)
    ]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_block_coordinate_descent_never_goes_up(seed: int) -> None:
    objectives = align(
        realistic(seed), draw(4, 12, seed=seed), mode="bcd", rounds=40, tolerance=0, relative_tolerance=0
    ).objectives
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(objectives))


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**20), rho=st.sampled_from([1.0, 3.0]))
def test_admm_agrees_and_keeps_the_power(seed: int, rho: float) -> None:
    links, start = realistic(seed), draw(4, 12, seed=seed)
    for rounds in (1, 2, 60):
        solution = align(links, start, rounds=rounds, rho=rho, tolerance=0, relative_tolerance=0)
        assert float(square(solution.state.feasible)) <= 1 + 1e-9
    assert solution.residuals[-1][0] <= 1e-2
    assert solution.objectives[-1] < solution.objectives[0]


def test_stopping_rule_ends_the_rounds() -> None:
    solution = align(realistic(0), draw(4, 12), rounds=5000, tolerance=1e-4, relative_tolerance=0)
    assert len(solution.residuals) < 5000
    assert max(solution.residuals[-1]) < 1e-4 * 48**0.5
    assert max(solution.residuals[-2]) >= 1e-4 * 48**0.5


def test_tolerances_are_those_of_boyd_and_others() -> None:
    """sqrt(s m) = 2 in all; the norms of F, Z and the scaled dual are 6, 4 and 1."""
    state = Consensus(*(value * torch.ones(2, 2, dtype=C) for value in (3, 2, 0.5)))
    assert state.tolerances(rho=5.0, absolute=1e-2, relative=1e-3) == pytest.approx((0.02 + 0.006, 0.02 + 0.005))
    before = Consensus(state.precoder, state.feasible - 0.001, state.dual)
    near = Consensus(state.feasible + 0.01, state.feasible, state.dual)  # residuals 0.02 and 0.01
    assert near.residuals(before, 5.0) == pytest.approx((0.02, 0.01))
    assert near.settled(before, 5.0, 1.01e-2, 0.0)
    assert not near.settled(before, 5.0, 0.99e-2, 0.0)
    assert near.settled(before, 5.0, 0.5e-2, 0.0026)
    assert not near.settled(before, 5.0, 0.5e-2, 0.0024)
    assert not near.settled(near, 5.0, 0.0, 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_what_the_stopping_rule_stops_at_is_the_optimum_in_a_closed_form(seed: int) -> None:
    """Users without noise, as above; after a few rounds the objective is still off."""
    found = [contraction(width, 5, seed=31 + 7 * seed + k) for k, width in enumerate((3, 4, 6))]
    gram = torch.stack([r.mH @ r for r in found]).sum(dim=0)
    optimum = (13 - float(torch.linalg.eigvalsh(gram)[-2:].sum())) / 3
    links, start = [link(r, draw(2, 2, seed=41 + k)) for k, r in enumerate(found)], draw(2, 5, seed=seed)
    solution = align(links, start, rounds=5000)
    assert len(solution.objectives) < 5000
    assert solution.objectives[-1] == pytest.approx(optimum, rel=1e-3)
    assert align(links, start, rounds=3).objectives[-1] > optimum * (1 + 1e-3)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_what_the_stopping_rule_stops_at_is_near_what_a_long_descent_reaches(seed: int) -> None:
    links, start = realistic(seed), draw(4, 12, seed=seed)
    solution = align(links, start, rounds=5000)
    long = align(links, start, mode="bcd", rounds=3000, tolerance=0, relative_tolerance=0).objectives[-1]
    assert len(solution.objectives) < 5000
    assert solution.objectives[-1] == pytest.approx(long, rel=3e-3)


def test_order_of_the_users_does_not_matter() -> None:
    links, start = realistic(4), draw(4, 12)
    one, other = (align(order, start).state.feasible for order in (links, links[::-1]))
    assert (one - other).abs().max() < 1e-12


def test_the_error_at_the_end_is_the_one_measured_on_noisy_pilots() -> None:
    options, generator = Options(), torch.Generator().manual_seed(2)
    latents = torch.randn(24, 20_000, generator=generator, dtype=torch.float64)
    mixing = torch.randn(20, 24, generator=generator, dtype=torch.float64)
    sender = make_sender(latents, options)
    receiver = make_receiver(sender, torch.tanh(mixing @ latents), options, owner="user")
    one = user_statistics(receiver, draw(8, 8, seed=1), 0.02, options)
    z = align([one], draw(8, 12, seed=2)).state.feasible
    g = equalizer(one, z)
    noise = (0.02**0.5) * torch.randn(8, 20_000, generator=generator, dtype=C)
    y = receiver.whitening.apply(options.features(receiver.pilots))
    errors = (y - g @ (one.response @ z @ sender.white + noise)).abs().square().sum(dim=0)
    spread = float(errors.std()) / len(errors) ** 0.5
    assert float(errors.mean()) == pytest.approx(total_objective([one], z), abs=5 * spread)
