import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import stats

from semfed.algorithms.privacy import COUNTS_SENSITIVITY, gaussian_delta, private_pmf, spent
from semfed.errors import ScenarioError
from semfed.scenario import overrides
from semfed.scenario.privacy import LabelPrivacy, UpdatePrivacy


def test_noise_of_the_counts_is_laplace_with_the_stated_scale() -> None:
    """Counts far from zero are not clipped, and a huge number of samples keeps the normalisation out of the picture."""
    generator, settings, samples = np.random.default_rng(0), LabelPrivacy(epsilon=0.5), 10**9
    pmfs = np.array([private_pmf([0.5, 0.5], samples, settings, generator) for _ in range(4000)])
    first = np.random.default_rng(1).laplace(0, COUNTS_SENSITIVITY / 0.5, (4000, 2))
    expected = (first[:, 0] - first[:, 1]) / 2  # of (n0 - n1) / 2 samples
    assert stats.ks_2samp((pmfs[:, 0] - 0.5) * samples, expected).pvalue > 0.01


def test_replacing_a_sample_changes_the_counts_by_the_sensitivity() -> None:
    labels = np.array([0, 0, 1, 2, 2, 2])
    changes = []
    for k in range(len(labels)):
        for value in range(3):
            other = labels.copy()
            other[k] = value
            changes.append(np.abs(np.bincount(labels, minlength=3) - np.bincount(other, minlength=3)).sum())
    assert max(changes) == COUNTS_SENSITIVITY


@examples(deadline=None)
@given(
    st.lists(st.integers(0, 1000), min_size=2, max_size=12).filter(any),
    st.floats(1e-6, 100.0),
    st.integers(0, 2**32),
)
def test_a_private_pmf_is_a_pmf(counts: list[int], epsilon: float, seed: int) -> None:
    total = sum(counts)
    pmf = private_pmf(np.array(counts) / total, total, LabelPrivacy(epsilon=epsilon), np.random.default_rng(seed))
    assert (pmf > 0).all()
    assert pmf.sum() == pytest.approx(1.0)


def test_clipped_updates_differ_by_the_sensitivity_at_most() -> None:
    settings = UpdatePrivacy(clipping_norm=0.7, epsilon=1.0, delta=1e-5)
    update = np.array([0.7, 0.0])
    assert np.linalg.norm(update - -update) == pytest.approx(settings.sensitivity)


def classical(delta: float, epsilon: float) -> float:
    """The sensitivity over the noise's standard deviation, as `LocalDpMod` chooses the latter."""
    return epsilon / math.sqrt(2 * math.log(1.25 / delta))


@pytest.mark.parametrize(
    ("epsilon", "delta", "rounds", "exact"),
    [
        (1.0, 1e-5, 1, 0.750977),
        (1.0, 1e-5, 10, 2.688362),
        (0.1, 1e-6, 1, 0.066676),
        (3.0, 1e-5, 5, 6.409771),
        (10.0, 1e-5, 5, 29.629357),
        (100.0, 1e-5, 1, 300.140145),
    ],
)
def test_what_is_spent_is_what_an_accountant_of_others_says(
    epsilon: float, delta: float, rounds: int, exact: float
) -> None:
    """The values are those of dp-accounting 0.6.0, which composes discretised privacy losses."""
    settings = UpdatePrivacy(clipping_norm=1.0, epsilon=epsilon, delta=delta)
    assert spent(settings, rounds) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(("epsilon", "rounds"), [(1.0, 1), (1.0, 10), (4.0, 3)])
def test_what_is_spent_agrees_with_privacy_losses_that_are_added_up(epsilon: float, rounds: int) -> None:
    """Losses log p / q of one round on a grid, as many independent ones added, and their excess over epsilon."""
    delta, step = 1e-5, 2e-3
    sigma = 1 / classical(delta, epsilon)
    edges = np.linspace(-9 * sigma, 9 * sigma + 1, 200_001)
    middles, mass = (edges[1:] + edges[:-1]) / 2, np.diff(stats.norm.cdf(edges, 0.0, sigma))
    loss = stats.norm.logpdf(middles, 0.0, sigma) - stats.norm.logpdf(middles, 1.0, sigma)
    lowest = math.floor(loss.min() / step)
    one = np.bincount(np.round(loss / step).astype(int) - lowest, weights=mass)
    together = one
    for _ in range(rounds - 1):
        together = np.convolve(together, one)
    losses = step * (np.arange(len(together)) + rounds * lowest)
    found = spent(UpdatePrivacy(clipping_norm=1.0, epsilon=epsilon, delta=delta), rounds)
    excess = float((together * np.maximum(0.0, -np.expm1(found - losses))).sum())
    assert excess == pytest.approx(delta, rel=5e-3)


@examples(deadline=None)
@given(st.floats(1e-3, 1e4), st.floats(1e-12, 0.1), st.integers(1, 1000))
def test_an_epsilon_gives_its_delta_back_and_undercuts_concentrated_privacy(
    epsilon: float, delta: float, rounds: int
) -> None:
    found = spent(UpdatePrivacy(clipping_norm=1.0, epsilon=epsilon, delta=delta), rounds)
    mu = math.sqrt(rounds) * classical(delta, epsilon)
    if found == 0:
        assert gaussian_delta(0.0, mu) <= delta
    else:
        assert gaussian_delta(found, mu) == pytest.approx(delta, rel=1e-4)
    rho = mu**2 / 2
    assert found <= rho + 2 * math.sqrt(rho * math.log(1 / delta))


def test_before_the_first_round_nothing_is_spent() -> None:
    assert spent(UpdatePrivacy(clipping_norm=1.0, epsilon=1.0, delta=1e-5), 0) == 0


@pytest.mark.parametrize(("epsilon", "holds"), [(0.99, True), (8.3, True), (8.5, False)])
def test_up_to_where_the_calibration_keeps_what_its_epsilon_says(epsilon: float, holds: bool) -> None:
    assert (spent(UpdatePrivacy(clipping_norm=1.0, epsilon=epsilon, delta=1e-5), 1) <= epsilon) == holds


def test_settings_are_strict() -> None:
    with pytest.raises(ScenarioError, match=r"privacy\.labels\.epsilon = -1.*greater than 0"):
        overrides.load("digits", ["privacy.labels={epsilon=-1}"])
    with pytest.raises(ScenarioError, match=r"unknown setting 'epsilom'; did you mean 'epsilon'\?"):
        overrides.load("digits", ["privacy.labels={epsilom=1}"])
    with pytest.raises(ScenarioError, match=r"privacy\.updates\.delta"):
        overrides.load("digits", ["privacy.updates={clipping_norm=1, epsilon=1}"])
