"""Density ratios against scikit-learn, closed forms and themselves."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import softplus

from semfed.algorithms.bottleneck.density_ratio import GaussianKernel, MixtureRatio, fit, median_bandwidth


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


def draw_encoder(
    modes: Tensor, rows: int, generator: torch.Generator, spread: float = 0.35, log_variance: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Return c and x: around ten modes c ~ N(mode, spread^2 I), then x ~ N(c, exp(log_variance) I)."""
    mean = modes[torch.randint(len(modes), (rows,), generator=generator)]
    mean = mean + spread * torch.randn(mean.shape, generator=generator, dtype=torch.float64)
    return mean, mean + math.exp(log_variance / 2) * torch.randn(mean.shape, generator=generator, dtype=torch.float64)


def slope(log_ratio: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(log_ratio(x).sum(), x)[0]


def exact_log_ratio(modes: Tensor, variance: float) -> Callable[[Tensor], Tensor]:
    """Return log p / N(0, I) for the equal mixture of N(mode, variance I), written out."""

    def log_ratio(x: Tensor) -> Tensor:
        terms = -0.5 * (x[:, None] - modes).square().sum(2) / variance
        scale = 0.5 * modes.shape[1] * math.log(variance)
        return torch.logsumexp(terms, 1) - math.log(len(modes)) - scale + 0.5 * x.square().sum(1)

    return log_ratio


@pytest.mark.parametrize(("dims", "kl", "by_logistic"), [(4, 1.20, 0.91), (32, 11.29, 0.75)])
def test_density_ratio_of_an_encoder_of_ten_classes(dims: int, kl: float, by_logistic: float) -> None:
    """As many kernels as components: the mixture has all nats of KL(p || N(0, I)), logistic regression some."""
    shares, correlations, cosines, totals, logistic, exact = [], [], [], [], [], []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        modes = 0.8 * (2 * torch.randint(2, (10, dims), generator=generator, dtype=torch.float64) - 1)
        marginal = exact_log_ratio(modes, math.exp(0.5) + 0.35**2)
        c, x = draw_encoder(modes, 2000, generator)
        y = normal(generator, 2000, dims, 0, 1)
        ratio = MixtureRatio(c[:300], torch.full_like(c[:300], 0.5))
        fresh, other = draw_encoder(modes, 4000, generator)[1], normal(generator, 4000, dims, 0, 1)
        true, found = marginal(fresh), ratio.log_ratio(fresh)
        exact.append(float(true.mean()))
        shares.append(float(found.mean() / true.mean()))
        correlations.append(float(torch.corrcoef(torch.stack([found, true]))[0, 1]))
        cosines.append(float(torch.cosine_similarity(slope(ratio.log_ratio, fresh), slope(marginal, fresh)).mean()))
        both = torch.cat([fresh, other])  # weighted by q / (p / 2 + q / 2): draws of q alone miss where p lies
        totals.append(float((ratio.log_ratio(both) + math.log(2) - softplus(marginal(both))).exp().mean()))
        logistic.append(float(fit(x, y, random_centres(x, y, 300, generator)).log_ratio(fresh).mean() / true.mean()))
    assert np.mean(exact) == pytest.approx(kl, rel=0.1)
    assert np.mean(shares) == pytest.approx(1, abs=0.015)
    assert min(correlations) > 0.995
    assert min(cosines) > 0.995
    assert np.mean(totals) == pytest.approx(1, abs=0.05)
    assert np.mean(logistic) == pytest.approx(by_logistic, abs=0.04)


def test_mixture_ratio_of_one_gaussian_is_exact_and_has_its_slope() -> None:
    """p = N(m, v), q = N(0, 1): log r = x^2 / 2 - (x - m)^2 / 2 v - log(v) / 2, slope x - (x - m) / v."""
    x, m, v = torch.tensor([[-1.5], [0.2], [3.0]]), 0.7, 1.6
    ratio = MixtureRatio(torch.tensor([[m]]), torch.tensor([[v]]).log())
    log_ratio, found = ratio.with_slope(x)
    torch.testing.assert_close(log_ratio, (x.square() / 2 - (x - m) ** 2 / (2 * v))[:, 0] - math.log(v) / 2)
    torch.testing.assert_close(found, x - (x - m) / v)
    torch.testing.assert_close(ratio.log_ratio(x), log_ratio)


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
