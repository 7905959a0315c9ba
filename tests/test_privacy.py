import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import stats

from semfed import overrides
from semfed.errors import ScenarioError
from semfed.privacy import COUNTS_SENSITIVITY, LabelPrivacy, UpdatePrivacy, private_pmf


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


@examples(deadline=None)
@given(st.floats(0.01, 0.99), st.floats(1e-8, 1e-3))
def test_one_round_of_accounting_is_close_to_the_calibration(epsilon: float, delta: float) -> None:
    """Both are upper bounds for the same noise: they agree up to a few per cent where the calibration is a theorem."""
    spent = UpdatePrivacy(clipping_norm=1.0, epsilon=epsilon, delta=delta).spent(1)
    assert spent == pytest.approx(epsilon, rel=0.05)


def test_accounting_is_an_upper_bound_of_the_exact_gaussian_trade_off() -> None:
    """The exact delta of the Gaussian mechanism (Balle and Wang 2018, theorem 8) at the reported epsilon."""
    for rounds in (1, 10, 100):
        settings = UpdatePrivacy(clipping_norm=1.0, epsilon=2.0, delta=1e-5)
        epsilon = settings.spent(rounds)
        multiplier = math.sqrt(2 * math.log(1.25 / settings.delta)) / settings.epsilon
        mu = math.sqrt(rounds) / multiplier
        exact = stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu)
        assert exact <= settings.delta


def test_composition_grows_with_the_square_root_of_rounds_where_epsilon_is_small() -> None:
    settings = UpdatePrivacy(clipping_norm=1.0, epsilon=1e-4, delta=1e-5)
    assert settings.spent(100) / settings.spent(1) == pytest.approx(10, rel=1e-3)


def test_settings_are_strict() -> None:
    with pytest.raises(ScenarioError, match=r"privacy\.labels\.epsilon = -1.*greater than 0"):
        overrides.load("digits", ["privacy.labels={epsilon=-1}"])
    with pytest.raises(ScenarioError, match=r"unknown setting 'epsilom'; did you mean 'epsilon'\?"):
        overrides.load("digits", ["privacy.labels={epsilom=1}"])
    with pytest.raises(ScenarioError, match=r"privacy\.updates\.delta"):
        overrides.load("digits", ["privacy.updates={clipping_norm=1, epsilon=1}"])
