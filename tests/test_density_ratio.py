"""Kernel logistic regression against scikit-learn, closed forms and itself."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from semfed.density_ratio import GaussianKernel, fit, median_bandwidth


def normal(generator: torch.Generator, rows: int, dims: int, mean: float, sd: float) -> Tensor:
    return mean + sd * torch.randn(rows, dims, generator=generator, dtype=torch.float64)


def true_log_ratio(x: Tensor, p: tuple[float, float], q: tuple[float, float]) -> Tensor:
    def log_density(mean: float, sd: float) -> Tensor:
        return (-0.5 * ((x - mean) / sd) ** 2 - math.log(sd)).sum(1)

    return log_density(*p) - log_density(*q)


def random_centres(x: Tensor, y: Tensor, count: int, generator: torch.Generator) -> Tensor:
    pooled = torch.cat([x, y])
    return pooled[torch.randperm(len(pooled), generator=generator)[:count]]


@pytest.mark.parametrize("gamma", [1 / 3, 2.0])
@pytest.mark.parametrize("every", [1, 4])
def test_newton_finds_the_optimum_of_scikit_learns_logistic_regression(gamma: float, every: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = normal(generator, 200, 2, 0.5, 1.0), normal(generator, 200, 2, 0.0, 1.5)
    centres = torch.cat([x, y])[::every]
    ours = fit(x, y, centres, bandwidth=1.3, gamma=gamma)
    points = torch.cat([x, y])
    labels = np.repeat([1, -1], 200)
    reference = LogisticRegression(C=every / (2 * gamma), tol=1e-10, max_iter=10_000)
    reference.fit(GaussianKernel(centres, 1.3)(points).numpy(), labels)
    np.testing.assert_allclose(ours.weights.numpy(), reference.coef_[0], atol=1e-4)
    assert float(ours.intercept) == pytest.approx(float(reference.intercept_[0]), abs=1e-4)


@pytest.mark.parametrize(
    ("dims", "p", "q", "kl", "correlation"),
    [
        (1, (0.0, 1.0), (1.0, 2.0), 0.4431, 0.98),
        (2, (1.0, 1.0), (0.0, 2.0), 0.8863, 0.98),
        (4, (1.0, 1.0), (0.0, 2.0), 1.7726, 0.95),
    ],
)
def test_density_ratio_of_gaussians(
    dims: int, p: tuple[float, float], q: tuple[float, float], kl: float, correlation: float
) -> None:
    means, correlations, totals = [], [], []
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        x, y = normal(generator, 2000, dims, *p), normal(generator, 2000, dims, *q)
        ratio = fit(x, y, random_centres(x, y, 200, generator), bandwidth=1.95, gamma=1 / 3)
        fresh, other = normal(generator, 5000, dims, *p), normal(generator, 20_000, dims, *q)
        estimated, exact = ratio.log_ratio(fresh), true_log_ratio(fresh, p, q)
        assert float(exact.mean()) == pytest.approx(kl, abs=0.05)
        means.append(float(estimated.mean()))
        correlations.append(float(torch.corrcoef(torch.stack([estimated, exact]))[0, 1]))
        totals.append(float(ratio.log_ratio(other).exp().mean()))
    assert np.mean(means) == pytest.approx(kl, abs=0.05)
    assert min(correlations) > correlation
    assert 0.9 <= np.mean(totals) <= 1.1


def test_equal_distributions_have_no_ratio() -> None:
    generator = torch.Generator().manual_seed(3)
    x, y = normal(generator, 2000, 2, 0, 1), normal(generator, 2000, 2, 0, 1)
    ratio = fit(x, y, random_centres(x, y, 200, generator), bandwidth=1.95, gamma=1 / 3)
    assert float(ratio.log_ratio(normal(generator, 5000, 2, 0, 1)).abs().mean()) < 0.1


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), dims=st.integers(1, 4))
def test_swapping_p_and_q_flips_the_sign(seed: int, dims: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = normal(generator, 60, dims, 0.5, 1), normal(generator, 60, dims, 0, 1.5)
    centres = random_centres(x, y, 20, generator)
    forward, backward = fit(x, y, centres, bandwidth=1.5), fit(y, x, centres, bandwidth=1.5)
    torch.testing.assert_close(forward.log_ratio(x), -backward.log_ratio(x), atol=1e-4, rtol=0)


def test_few_random_centres_and_a_warm_start_agree_with_the_full_fit() -> None:
    generator = torch.Generator().manual_seed(4)
    x, y = normal(generator, 1000, 8, 0.3, 1.2), normal(generator, 1000, 8, 0, 1)
    full = fit(x, y, torch.cat([x, y]))
    few = fit(x, y, random_centres(x, y, 400, generator))
    logits = torch.stack([full.log_ratio(torch.cat([x, y])), few.log_ratio(torch.cat([x, y]))])
    assert float(torch.corrcoef(logits)[0, 1]) > 0.999
    start = torch.cat([few.weights, few.intercept[None]]) + 0.5
    again = fit(x, y, few.centres, start=start)
    torch.testing.assert_close(again.log_ratio(x), few.log_ratio(x), atol=1e-4, rtol=0)


def test_median_bandwidth_is_the_median_distance() -> None:
    points = torch.tensor([[0.0], [1.0], [3.0]])
    assert median_bandwidth(points[:2], points[2:]) == 2.0


def test_gradient_of_the_log_ratio_is_the_documented_sum() -> None:
    generator = torch.Generator().manual_seed(5)
    x, y = normal(generator, 50, 3, 0.5, 1), normal(generator, 50, 3, 0, 1)
    ratio = fit(x, y, x[:10], bandwidth=1.7)
    point = normal(generator, 1, 3, 0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(ratio.log_ratio(point).sum(), point)
    kernel = GaussianKernel(ratio.centres, 1.7)(point.detach())[0]
    expected = ((ratio.weights * kernel)[:, None] * (ratio.centres - point.detach())).sum(0) / 1.7**2
    torch.testing.assert_close(gradient[0], expected)


def test_unequal_samples_and_a_bandwidth_of_zero_are_refused() -> None:
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="equally many"):
        fit(x, x[:3], x)
    with pytest.raises(ValueError, match="bandwidth = 0"):
        fit(x, x, x, bandwidth=0.0)
