"""How good estimates of a density ratio are, in 1 to 128 dimensions, and what they cost.

    python benchmarks/density_ratio.py      # writes scenarios/iopm-mnist/results/density-ratio.json

First Gaussians against Gaussians, as in the paper's section III-A; then an encoder of ten classes against N(0, I), with
all densities known exactly. ``--development`` prints the second table for other estimators, over other seeds: what was
tried before one was chosen.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import softplus

from semfed.algorithms.bottleneck.density_ratio import GaussianKernel, MixtureRatio, fit, median_bandwidth
from semfed.algorithms.bottleneck.rate import log_density

RESULT = Path(__file__).parents[1] / "scenarios" / "iopm-mnist" / "results" / "density-ratio.json"
SAMPLES, FRESH, CENTRES, BANDWIDTH, GAMMA = 2000, 5000, 300, 1.95, 1 / 3
GAUSSIANS = {  # dims: (mean, sd) of p and q
    1: ((0.0, 1.0), (1.0, 2.0)),
    2: ((1.0, 1.0), (0.0, 2.0)),
    4: ((1.0, 1.0), (0.0, 2.0)),
}
DIMS = (4, 8, 16, 32, 64, 128)
CLASSES, AMPLITUDE, SPREAD, LOG_VARIANCE = 10, 0.8, 0.35, 0.5

LogRatio = Callable[[Tensor], Tensor]


class Encoder:
    """x ~ N(c, exp(LOG_VARIANCE) I), with c ~ N(m_k, SPREAD^2 I) around one of ten sign patterns m_k."""

    def __init__(self, dims: int, generator: torch.Generator) -> None:
        signs = torch.randint(2, (CLASSES, dims), generator=generator, dtype=torch.float64)
        self.centres = AMPLITUDE * (2 * signs - 1)
        variance = math.exp(LOG_VARIANCE) + SPREAD**2
        self.exact = MixtureRatio(self.centres, torch.full_like(self.centres, math.log(variance)))

    def draw(self, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return c and x."""
        mean = self.centres[torch.randint(CLASSES, (rows,), generator=generator)]
        mean = mean + SPREAD * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
        return mean, mean + math.exp(LOG_VARIANCE / 2) * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)


# -- estimators: (c, x ~ p, y ~ q, generator) to log p / q -------------------------------------------------------------

Estimator = Callable[[Tensor, Tensor, Tensor, torch.Generator], LogRatio]


def mixture(components: int) -> Estimator:
    def make(c: Tensor, x: Tensor, y: Tensor, generator: torch.Generator) -> LogRatio:
        return MixtureRatio(c[:components], torch.full_like(c[:components], LOG_VARIANCE)).log_ratio

    return make


def logistic(
    centres: int = CENTRES, gamma: float = GAMMA, width: float = 1.0, *, normalised: bool = False
) -> Estimator:
    def make(c: Tensor, x: Tensor, y: Tensor, generator: torch.Generator) -> LogRatio:
        pooled = torch.cat([x, y])
        places = torch.randperm(len(pooled), generator=generator)[:centres]
        ratio = fit(x, y, pooled[places], bandwidth=width * median_bandwidth(x, y), gamma=gamma)
        excess = torch.logsumexp(ratio.log_ratio(y), 0) - math.log(len(y)) if normalised else 0.0
        return lambda points: ratio.log_ratio(points) - excess

    return make


def gaussian(*, residual: bool) -> Estimator:
    """The Gaussian of x's moments, alone or with p over that Gaussian by logistic regression."""

    def make(c: Tensor, x: Tensor, y: Tensor, generator: torch.Generator) -> LogRatio:
        mean, covariance = x.mean(0), torch.cov(x.T)
        normal = torch.distributions.MultivariateNormal(mean, covariance)
        standard = torch.distributions.MultivariateNormal(torch.zeros_like(mean), torch.eye(len(mean), dtype=x.dtype))
        rest: LogRatio = lambda points: torch.zeros(len(points), dtype=points.dtype)  # noqa: E731
        if residual:
            rest = logistic()(c, x, mean + y @ torch.linalg.cholesky(covariance).T, generator)
        return lambda points: normal.log_prob(points) - standard.log_prob(points) + rest(points)

    return make


def kliep(steps: int = 500) -> Estimator:
    """Sugiyama et al. 2008: r = sum_i a_i K(x, x_i), a >= 0, of greatest likelihood under p with E_q r = 1."""

    def make(c: Tensor, x: Tensor, y: Tensor, generator: torch.Generator) -> LogRatio:
        kernel = GaussianKernel(x[:CENTRES], median_bandwidth(x, y))
        under_p, under_q = kernel(x), kernel(y).mean(0)
        weights = 1 / (CENTRES * under_q)
        for _ in range(steps):
            weights = weights * (under_p / (under_p @ weights)[:, None]).mean(0) / under_q
        return lambda points: (kernel(points) @ weights).log()

    return make


def ulsif(ridge: float = 0.1) -> Estimator:
    """Kanamori et al. 2009: the same r by least squares, with negative weights set to zero."""

    def make(c: Tensor, x: Tensor, y: Tensor, generator: torch.Generator) -> LogRatio:
        kernel = GaussianKernel(x[:CENTRES], median_bandwidth(x, y))
        under_q = kernel(y)
        moments = under_q.T @ under_q / len(y) + ridge * torch.eye(CENTRES, dtype=x.dtype)
        weights = torch.linalg.solve(moments, kernel(x).mean(0)).clamp_min(0)
        return lambda points: (kernel(points) @ weights).log()

    return make


SHIPPED = {"mixture": mixture(CENTRES), "logistic": logistic()}
TRIED = SHIPPED | {
    "mixture of 100": mixture(100),
    "mixture of 1000": mixture(1000),
    "mixture of 2000": mixture(2000),
    "logistic, 1000 centres": logistic(1000),
    "logistic, gamma / 10": logistic(gamma=GAMMA / 10),
    "logistic, gamma / 100": logistic(gamma=GAMMA / 100),
    "logistic, twice the width, gamma / 100": logistic(gamma=GAMMA / 100, width=2),
    "logistic, four times the width, gamma / 30000": logistic(gamma=GAMMA / 30_000, width=4),
    "logistic, E_q r = 1": logistic(normalised=True),
    "Gaussian of the same moments": gaussian(residual=False),
    "Gaussian, then logistic": gaussian(residual=True),
    "KLIEP": kliep(),
    "uLSIF": ulsif(),
}


# -- what is measured --------------------------------------------------------------------------------------------------


def slope(log_ratio: LogRatio, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(log_ratio(x).sum(), x)[0]


def ratio_under_q(estimated: LogRatio, exact: LogRatio, x: Tensor, y: Tensor) -> float:
    """E_q of the estimated ratio, from draws of p and q alike, weighted by q / (p / 2 + q / 2).

    Draws of q alone say nothing where p and q hardly overlap: they give 0.0 for the exact ratio in 128 dimensions.
    """
    both = torch.cat([x, y])
    return float((estimated(both) + math.log(2) - softplus(exact(both))).exp().mean())


def encoder_quality(estimator: Estimator, dims: int, seed: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    encoder = Encoder(dims, generator)
    c, x = encoder.draw(SAMPLES, generator)
    y = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    start = time.process_time()
    estimated = estimator(c, x, y, generator)
    seconds = time.process_time() - start
    exact = encoder.exact.log_ratio
    fresh, other = encoder.draw(FRESH, generator)[1], torch.randn(FRESH, dims, generator=generator, dtype=x.dtype)
    found, true = estimated(fresh), exact(fresh)
    return {
        "kl_true": float(true.mean()),
        "kl_estimated": float(found.mean()),
        "correlation": float(torch.corrcoef(torch.stack([found, true]))[0, 1]),
        "gradient_cosine": float(torch.cosine_similarity(slope(estimated, fresh), slope(exact, fresh)).mean()),
        "mean_ratio_under_q": ratio_under_q(estimated, exact, fresh, other),
        "mean_ratio_over_draws_of_q": float(estimated(other).exp().mean()),
        "mean_exact_ratio_over_draws_of_q": float(exact(other).exp().mean()),
        "seconds_to_make": seconds,
    }


def gaussian_quality(dims: int, seed: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)

    def draw(rows: int, normal: tuple[float, float]) -> Tensor:
        return normal[0] + normal[1] * torch.randn(rows, dims, generator=generator, dtype=torch.float64)

    def exact(x: Tensor) -> Tensor:
        densities = [log_density(x, torch.full_like(x, m), torch.full_like(x, s**2).log()) for m, s in (p, q)]
        return densities[0] - densities[1]

    p, q = GAUSSIANS[dims]
    x, y = draw(SAMPLES, p), draw(SAMPLES, q)
    places = torch.randperm(2 * SAMPLES, generator=generator)[:CENTRES]
    ratio = fit(x, y, torch.cat([x, y])[places], bandwidth=BANDWIDTH, gamma=GAMMA)
    fresh, other = draw(FRESH, p), draw(FRESH, q)
    estimated, true = ratio.log_ratio(fresh), exact(fresh)
    return {
        "kl_true": float(true.mean()),
        "kl_estimated": float(estimated.mean()),
        "correlation": float(torch.corrcoef(torch.stack([estimated, true]))[0, 1]),
        "mean_ratio_under_q": float(ratio.log_ratio(other).exp().mean()),
    }


def by_seed(found: list[dict[str, float]]) -> dict[str, dict[str, object]]:
    columns = {name: [row[name] for row in found] for name in found[0]}
    return {
        name: {
            "mean": round(statistics.mean(values), 4),
            "sd": round(statistics.stdev(values), 4),
            "values": [round(value, 4) for value in values],
        }
        for name, values in columns.items()
    }


def encoder_table(estimators: dict[str, Estimator], seeds: range) -> dict[str, object]:
    return {
        name: {f"{d}-D": by_seed([encoder_quality(estimator, d, seed) for seed in seeds]) for d in DIMS}
        for name, estimator in estimators.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--development", action="store_true", help="what was tried, over seeds 100-104")
    development = parser.parse_args().development
    torch.set_num_threads(1)
    seeds = range(100, 105) if development else range(5)
    numbers: dict[str, object] = {"encoder": encoder_table(TRIED if development else SHIPPED, seeds)}
    if not development:
        numbers["gaussians"] = {f"{d}-D": by_seed([gaussian_quality(d, seed) for seed in seeds]) for d in GAUSSIANS}
    told = {
        "name": "density-ratio-tried" if development else "density-ratio",
        "description": "Estimates of log p / q against the exact one; sd and values over seeds, seconds on one core",
        "command": "python benchmarks/density_ratio.py" + " --development" * development,
        "seeds": list(seeds),
        "settings": {
            "samples": SAMPLES,
            "fresh": FRESH,
            "centres": CENTRES,
            "bandwidth": {"gaussians": BANDWIDTH, "encoder": "median"},
            "gamma": round(GAMMA, 4),
            "encoder": {
                "classes": CLASSES,
                "amplitude": AMPLITUDE,
                "spread": SPREAD,
                "log_variance": LOG_VARIANCE,
            },
        },
        "numbers": numbers,
    }
    text = json.dumps(told, indent=1) + "\n"
    if development:
        print(text, end="")
    else:
        RESULT.write_text(text)


if __name__ == "__main__":
    main()
