"""How good the density-ratio estimator is in 1, 2 and 4 dimensions, and how much few centres cost.

Run: ``python benchmarks/density_ratio.py > scenarios/iopm-mnist/results/density-ratio.json``
"""

import json

import torch
from torch import Tensor

from semfed.density_ratio import fit
from semfed.rate import log_density

CASES = {  # dims: (mean, sd) of p and q
    1: ((0.0, 1.0), (1.0, 2.0)),
    2: ((1.0, 1.0), (0.0, 2.0)),
    4: ((1.0, 1.0), (0.0, 2.0)),
}
SAMPLES, FRESH, CENTRES, BANDWIDTH, GAMMA, SEEDS = 2000, 5000, 300, 1.95, 1 / 3, 10


def draw(generator: torch.Generator, rows: int, dims: int, normal: tuple[float, float]) -> Tensor:
    return normal[0] + normal[1] * torch.randn(rows, dims, generator=generator, dtype=torch.float64)


def exact(x: Tensor, p: tuple[float, float], q: tuple[float, float]) -> Tensor:
    densities = [log_density(x, torch.full_like(x, m), torch.full_like(x, s**2).log()) for m, s in (p, q)]
    return densities[0] - densities[1]


def measure(dims: int, seed: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    p, q = CASES[dims]
    x, y = draw(generator, SAMPLES, dims, p), draw(generator, SAMPLES, dims, q)
    places = torch.randperm(2 * SAMPLES, generator=generator)[:CENTRES]
    ratio = fit(x, y, torch.cat([x, y])[places], bandwidth=BANDWIDTH, gamma=GAMMA)
    fresh, other = draw(generator, FRESH, dims, p), draw(generator, FRESH, dims, q)
    estimated, true = ratio.log_ratio(fresh), exact(fresh, p, q)
    return {
        "kl_true": float(true.mean()),
        "kl_estimated": float(estimated.mean()),
        "correlation": float(torch.corrcoef(torch.stack([estimated, true]))[0, 1]),
        "mean_ratio_under_q": float(ratio.log_ratio(other).exp().mean()),
    }


def main() -> None:
    numbers = {}
    for dims in CASES:
        found = [measure(dims, seed) for seed in range(SEEDS)]
        columns = {name: torch.tensor([f[name] for f in found]) for name in found[0]}
        numbers[f"{dims}-D"] = {
            name: {"mean": round(float(c.mean()), 4), "sd": round(float(c.std()), 4)} for name, c in columns.items()
        }
    told = {
        "name": "density-ratio",
        "description": "log p / q of Gaussians, estimated by kernel logistic regression; sd over seeds",
        "command": "python benchmarks/density_ratio.py",
        "seeds": list(range(SEEDS)),
        "settings": {"samples": SAMPLES, "centres": CENTRES, "bandwidth": BANDWIDTH, "gamma": round(GAMMA, 4)},
        "numbers": numbers,
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
