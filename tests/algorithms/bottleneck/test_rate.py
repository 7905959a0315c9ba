"""Divergences and the rate estimate against closed forms and quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from semfed.algorithms.bottleneck.rate import (
    kl_to_log_uniform,
    kl_to_standard_normal,
    log_density,
    mixture_log_density,
    rate,
)
from semfed.models.layers.gaussian import sample


@pytest.mark.parametrize(
    ("mean", "log_variance", "expected"),
    [(0, 0, 0), (1, 0, 0.5), (0.5, 0, 0.125), (0, 1, 0.359141), (2, -1, 2.183940)],
)
def test_kl_to_the_standard_normal(mean: float, log_variance: float, expected: float) -> None:
    value = kl_to_standard_normal(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(log_variance, dtype=torch.float64)
    )
    assert float(value) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0.01, 2.9390), (0.1, 1.72345), (1, 0.43124), (10, 0.05082), (100, 0.00508)]
)
def test_kl_to_the_log_uniform_prior(alpha: float, expected: float) -> None:
    assert float(kl_to_log_uniform(torch.tensor(alpha, dtype=torch.float64))) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 100.0])
def test_kl_to_the_log_uniform_prior_is_near_quadrature(alpha: float) -> None:
    def exact(a: float) -> float:
        """E log|e| - log(a) / 2 for e ~ N(1, a); odd parts of the integrand near 0 are integrable."""
        density = stats.norm(1, math.sqrt(a)).pdf
        parts = [
            integrate.quad(lambda e, s=s: math.log(e) * density(s * e), low, high)[0]
            for s in (1, -1)
            for low, high in ((0, 1e-3), (1e-3, 1), (1, 1 + 40 * math.sqrt(a)))
        ]
        return sum(parts) - 0.5 * math.log(a)

    limit = -0.5 * (np.euler_gamma + math.log(2))  # of E log|e| - log(a) / 2 for a to infinity
    assert float(kl_to_log_uniform(torch.tensor(alpha))) == pytest.approx(exact(alpha) - limit, abs=0.0064)


def test_densities_against_scipy() -> None:
    generator = torch.Generator().manual_seed(0)
    x, means, log_variances = torch.randn(3, 7, 2, generator=generator, dtype=torch.float64)
    per_component = np.array(
        [
            [
                stats.multivariate_normal(m.numpy(), np.diag(v.exp().numpy())).logpdf(p.numpy())
                for m, v in zip(means, log_variances, strict=True)
            ]
            for p in x
        ]
    )
    np.testing.assert_allclose(log_density(x, means, log_variances).numpy(), np.diag(per_component))
    expected = np.log(np.exp(per_component).mean(1))
    np.testing.assert_allclose(mixture_log_density(x, means, log_variances).numpy(), expected)


def test_rate_of_a_binary_source_matches_its_mutual_information() -> None:
    """x = c a + e with c = +-1 has I = log 2 - E log(1 + exp(-2 a x)) for c = 1."""
    a = 1.0
    loss = integrate.quad(lambda e: stats.norm.pdf(e) * math.log1p(math.exp(-2 * a * (a + e))), -9, 9)[0]
    exact = math.log(2) - loss
    means = a * torch.ones(1000, 1, dtype=torch.float64)
    means[::2] *= -1
    own = torch.arange(50_000) % len(means)
    x = sample(means[own], torch.zeros(len(own), 1), torch.Generator().manual_seed(0))
    found = rate(x, own, means, torch.zeros_like(means))
    assert found.lower == pytest.approx(exact, abs=0.01)
    assert found.upper == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(("dims", "exact"), [(1, 0.6931), (32, 2.5), (32, 4.8)])
def test_rate_of_a_gaussian_source_is_its_mutual_information(dims: int, exact: float) -> None:
    """c ~ N(0, s^2 I), x = c + N(0, I): I = d / 2 log(1 + s^2); at 4.8 nats the lower bound alone says 4.71."""
    errors, gaps = [], []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        spread = math.exp(2 * exact / dims) - 1
        means = math.sqrt(spread) * torch.randn(10_000, dims, generator=generator)
        own = torch.randperm(len(means), generator=generator)[:2000]
        x = means[own] + torch.randn(len(own), dims, generator=generator)
        marginal = log_density(x, torch.zeros_like(x), torch.full_like(x, math.log1p(spread)))
        sampled = float((log_density(x, means[own], torch.zeros_like(x)) - marginal).mean())  # exact but for the draws
        found = rate(x, own, means, torch.zeros_like(means))
        assert found.lower < found.estimate < found.upper
        errors.append(found.estimate - sampled)
        gaps.append((found.upper - sampled, sampled - found.lower))
    assert abs(np.mean(errors)) < 0.005 * exact
    if exact == 4.8:
        assert np.mean(gaps, axis=0) == pytest.approx([0.08, 0.10], abs=0.03)


def test_a_rate_needs_another_component() -> None:
    with pytest.raises(ValueError, match="at least two"):
        rate(torch.zeros(1, 2), torch.tensor([0]), torch.zeros(1, 2), torch.zeros(1, 2))


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0])
def test_rate_lies_between_zero_and_the_divergence_to_any_prior(scale: float) -> None:
    generator = torch.Generator().manual_seed(2)
    mean, log_variance = torch.rand(2, 4000, 8, generator=generator)
    mean = scale * (2 * mean - 1)
    x = sample(mean, log_variance, generator)
    found = rate(x, torch.arange(len(x)), mean, log_variance)
    assert -0.02 <= found.lower <= found.upper <= float(kl_to_standard_normal(mean, log_variance).sum(1).mean()) + 0.02
    assert found.lower < math.log(4000)
