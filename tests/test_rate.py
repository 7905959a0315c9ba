"""Divergences and the rate estimate against closed forms and quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from semfed.models.gaussian import sample
from semfed.rate import kl_to_log_uniform, kl_to_standard_normal, log_density, mixture_log_density, rate


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
    mean = a * torch.ones(200_000, 1, dtype=torch.float64)
    mean[::2] *= -1
    zero = torch.zeros_like(mean)
    x = sample(mean, zero, torch.Generator().manual_seed(0))
    assert float(rate(x, mean, zero, mean[:2], zero[:2])) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0])
def test_rate_lies_between_zero_and_the_divergence_to_any_prior(scale: float) -> None:
    generator = torch.Generator().manual_seed(2)
    mean, log_variance = torch.rand(2, 4000, 8, generator=generator)
    mean = scale * (2 * mean - 1)
    x = sample(mean, log_variance, generator)
    estimated = float(rate(x, mean, log_variance, mean, log_variance))
    assert -0.02 <= estimated <= float(kl_to_standard_normal(mean, log_variance).sum(1).mean()) + 0.02
    assert estimated < math.log(4000)
