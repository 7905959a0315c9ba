"""Penalties: the exact gradient table of the implicit prior, and what detaching the ratio means."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from semfed.algorithms.bottleneck import priors
from semfed.algorithms.bottleneck.density_ratio import MixtureRatio, fit
from semfed.models.layers.gaussian import GaussianEncoder, sample
from semfed.scenario import TrainingSettings
from semfed.training.optimizers import make_optimizer

TABLE = [(0.5, 0.39797, 0.5), (1.0, 0.44960, 1.0)]
"""a, dI/da, detached gradient: for c = +-1, x = a c + e and q = N(0, 1)."""


def mmse(snr: float) -> float:
    """Of a binary source in Gaussian noise."""
    root = math.sqrt(snr)
    return 1 - integrate.quad(lambda e: stats.norm.pdf(e) * math.tanh(snr + root * e), -9, 9)[0]


def gradient_in_a(penalty: priors.Penalty, a: float, samples: int, seed: int) -> float:
    """Derivative of the mean penalty in a, by automatic differentiation over antithetic draws."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, 1, generator=generator, dtype=torch.float64)
    noise = torch.cat([noise, -noise, noise, -noise])
    source = torch.ones_like(noise)
    source[2 * samples :] = -1
    amplitude = torch.tensor(a, dtype=torch.float64, requires_grad=True)
    mean = amplitude * source
    value = penalty(mean + noise, mean, torch.zeros_like(mean)).mean()
    return float(torch.autograd.grad(value, amplitude)[0])


def two_points(a: float) -> Tensor:
    return torch.tensor([[a], [-a]], dtype=torch.float64)


@pytest.mark.parametrize(("a", "exact", "detached"), TABLE)
def test_the_path_gradient_makes_the_implicit_prior_exact(a: float, exact: float, detached: float) -> None:
    assert a * mmse(a**2) == pytest.approx(exact, abs=1e-5)
    ratio = MixtureRatio(two_points(a), torch.zeros(2, 1, dtype=torch.float64))
    assert gradient_in_a(priors.implicit(ratio, "path"), a, 200_000, 0) == pytest.approx(exact, abs=0.003)
    assert gradient_in_a(priors.implicit(ratio, "detach"), a, 1000, 0) == pytest.approx(detached, abs=1e-9)
    assert gradient_in_a(priors.standard_normal(), a, 1000, 0) == pytest.approx(detached, abs=1e-9)
    mixture = priors.mixture(two_points(a), torch.zeros(2, 1, dtype=torch.float64))
    assert gradient_in_a(mixture, a, 200_000, 0) == pytest.approx(exact, abs=0.003)


@pytest.mark.parametrize(("a", "exact", "detached"), [TABLE[0], pytest.param(*TABLE[1], marks=pytest.mark.long)])
def test_a_fitted_ratio_has_a_path_gradient_within_ten_percent(a: float, exact: float, detached: float) -> None:
    terms = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        means = two_points(a).repeat(4000, 1)
        p = means + torch.randn(means.shape, generator=generator, dtype=torch.float64)
        q = torch.randn(means.shape, generator=generator, dtype=torch.float64)
        ratio = fit(p, q, torch.cat([p[:100], q[:100]]))
        terms.append(detached - gradient_in_a(priors.implicit(ratio, "path"), a, 20_000, seed))
    assert np.mean(terms) == pytest.approx(detached - exact, rel=0.1)


def test_detached_ratio_trains_as_no_ratio_at_all_bit_for_bit() -> None:
    def trained(penalty: priors.Penalty) -> list[Tensor]:
        torch.manual_seed(0)
        encoder = GaussianEncoder(nn.Sequential(nn.Linear(5, 8), nn.ReLU()), 8, 4, bounded=True)
        decoder = nn.Linear(4, 3)
        parameters = [*encoder.parameters(), *decoder.parameters()]
        optimizer = make_optimizer(TrainingSettings(lr=0.05), parameters)
        generator = torch.Generator().manual_seed(1)
        for _ in range(20):
            inputs = torch.randn(16, 5, generator=generator)
            values = torch.randint(3, (16,), generator=generator)
            mean, log_variance = encoder(inputs)
            x = sample(mean, log_variance, generator)
            loss = cross_entropy(decoder(x), values) + 0.1 * penalty(x, mean, log_variance).mean()
            optimizer.step(torch.autograd.grad(loss, parameters))
        return [p.detach().clone() for p in parameters]

    generator = torch.Generator().manual_seed(2)
    p, q = torch.randn(2, 100, 4, generator=generator)
    ratio = fit(p + 0.5, q, p[:20]).to(torch.float32)
    explicit = trained(priors.standard_normal())
    detached = trained(priors.implicit(ratio, "detach"))
    path = trained(priors.implicit(ratio, "path"))
    assert all(torch.equal(a, b) for a, b in zip(explicit, detached, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(explicit, path, strict=True))


@pytest.mark.parametrize("gradient", ["path", "detach"])
@pytest.mark.parametrize("method", ["none", "logistic", "mixture"])
def test_slopes_are_the_gradients(method: str, gradient: Literal["path", "detach"]) -> None:
    generator = torch.Generator().manual_seed(6)
    p, q, x, mean, log_variance = torch.randn(5, 60, 3, generator=generator, dtype=torch.float64)
    ratio = {"none": None, "logistic": fit(p + 0.5, q, p[:20]), "mixture": MixtureRatio(p, 0.3 * q)}[method]
    penalty = priors.NormalPrior(ratio, gradient)
    inputs = [tensor.requires_grad_() for tensor in (x, mean, log_variance)]
    expected = penalty(*inputs)
    gradients = torch.autograd.grad(expected.sum(), inputs, materialize_grads=True)
    with torch.no_grad():
        total, of_x, *others = penalty.with_slopes(*inputs)
    torch.testing.assert_close(total, expected.detach().sum())
    torch.testing.assert_close(torch.zeros_like(x) if of_x is None else of_x, gradients[0])
    torch.testing.assert_close(others, list(gradients[1:]))


@pytest.mark.parametrize(
    ("alpha", "by_hand"),
    [("paper", 1.6 / 4.0), ("channel", 0.25 / 4.0), ("encoder", 1.6 / 0.64)],
)
def test_alphas_of_the_log_uniform_prior_by_hand(alpha: priors.Alpha, by_hand: float) -> None:
    """x = -2, mean 0.8, variance 1.6, a channel at 6.02 dB: value, and slopes by the chain rule through ln alpha."""
    x = torch.full((1, 2), -2.0, dtype=torch.float64, requires_grad=True)
    mean = torch.full((1, 2), 0.8, dtype=torch.float64, requires_grad=True)
    log_variance = torch.full((1, 2), math.log(1.6), dtype=torch.float64, requires_grad=True)
    penalty = priors.log_uniform(alpha, 0.25)(x, mean, log_variance)
    gate = 1 / (1 + math.exp(-1.87320 - 1.48695 * math.log(by_hand)))
    value = 0.63576 * (1 - gate) + 0.5 * math.log(1 + 1 / by_hand)
    assert float(penalty.detach()) == pytest.approx(2 * value, rel=1e-6)

    of_log_alpha = -0.63576 * 1.48695 * gate * (1 - gate) - 0.5 / (1 + by_hand)
    expected = {"paper": (1.0, 0.0, 1.0), "channel": (1.0, 0.0, 0.0), "encoder": (0.0, -2 / 0.8, 1.0)}[alpha]
    slopes = torch.autograd.grad(penalty.sum(), (x, mean, log_variance), materialize_grads=True)
    for slope, factor in zip(slopes, expected, strict=True):  # d ln(1 / x^2) / dx = -2 / x = 1
        assert slope.flatten().tolist() == pytest.approx([factor * of_log_alpha] * 2, rel=1e-6)


def test_bounded_heads_keep_the_variance_between_one_and_e() -> None:
    torch.manual_seed(0)
    encoder = GaussianEncoder(nn.Linear(5, 8), 8, 4, bounded=True)
    with torch.no_grad():
        mean, log_variance = encoder(3 * torch.randn(100, 5))
    assert float(mean.abs().max()) < 1
    assert 1 < float(log_variance.exp().min()) <= float(log_variance.exp().max()) < math.e
