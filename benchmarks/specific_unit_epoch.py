"""One epoch of both specific units on MNIST: ours against a plain loop that does the reference's work.

The reference sends every image through the frozen common unit again in every step, and its density-ratio estimator is
scikit-learn's logistic regression on the full kernel matrix of 4000 points (fitted once an epoch and task, evaluated
in every step, without a gradient). Ours keeps the common unit's output, takes the ratio
from a mixture of 300 of the encoder's Gaussians, and its path gradient.

    SEMFED_DATA=DIR python benchmarks/specific_unit_epoch.py [--repeats N]

Writes ``benchmarks/results/specific-unit-epoch.json``: CPU seconds of both, one thread each, and their ratio. They
take turns, so that other load on the machine meets both alike. The plain loop holds its images as tensors, which spares
it what a data loader would do for every image.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from semfed.algorithms.bottleneck import specific_unit
from semfed.algorithms.bottleneck.rate import kl_to_standard_normal
from semfed.algorithms.bottleneck.specific_unit import Link, RateSettings
from semfed.channels import ChannelSettings
from semfed.channels.awgn import AWGN
from semfed.data.sources import MNIST
from semfed.models.layers import gaussian
from semfed.models.layers.gaussian import GaussianEncoder
from semfed.scenario import TrainingSettings
from semfed.scenario.settings import StrictModel
from semfed.training.losses import decision_loss

RESULT = Path(__file__).parent / "results" / "specific-unit-epoch.json"
D, SAMPLES, SIGMA, WEIGHT = 32, 2000, 1.9, 0.01


def networks() -> tuple[GaussianEncoder, dict[str, Link]]:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
    common = GaussianEncoder(trunk, 256, 128, bounded=False)
    channel = AWGN(ChannelSettings(snr_db=0.0, power="none", uses=D))
    links = {}
    for name, outputs in (("t1", 1), ("t2", 10)):
        unit = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        decoder = nn.Sequential(nn.Linear(D, D), nn.ReLU(), nn.Linear(D, outputs))
        links[name] = Link(GaussianEncoder(unit, 64, D, bounded=True), channel, decoder)
    return common, links


def draw(inputs: Tensor, generator: torch.Generator) -> Tensor:
    mean, deviation = inputs.chunk(2, dim=1)
    return gaussian.draw(mean, deviation, generator)


def ours(images: Tensor, values: dict[str, Tensor]) -> Callable[[], None]:
    common, links = networks()
    with torch.no_grad():
        mean, log_variance = common(images)  # once for all epochs, so not timed
        inputs = torch.cat([mean, torch.exp(0.5 * log_variance)], dim=1)
    generator = torch.Generator().manual_seed(0)
    starts: dict[str, Tensor | None] = dict.fromkeys(links)

    def epoch() -> None:
        for name, link in links.items():
            draws = torch.Generator().manual_seed(1)
            cost, starts[name] = specific_unit.penalty(link, draw, inputs, RateSettings(), draws, starts[name])
            specific_unit.train(
                link,
                draw,
                inputs,
                values[name],
                cost=cost,
                weight=WEIGHT,
                settings=TrainingSettings(lr=0.01),
                generator=generator,
            )

    return epoch


def plain(images: Tensor, values: dict[str, Tensor]) -> Callable[[], None]:
    common, links = networks()
    optimizers = {name: torch.optim.SGD(link.parameters(), lr=0.01) for name, link in links.items()}

    def encoded(link: Link, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            c_mean, c_log_variance = common(batch)
            c = c_mean + torch.exp(0.5 * c_log_variance) * torch.randn_like(c_mean)
        mean, log_variance = link.encoder(c)
        return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean), mean, log_variance

    def epoch() -> None:
        for name, link in links.items():
            with torch.no_grad():
                p = encoded(link, images[torch.randperm(len(images))[:SAMPLES]])[0].numpy()
            points = np.concatenate([p, np.random.default_rng(0).normal(size=p.shape)])
            labels = np.repeat([1, -1], SAMPLES)
            estimator = LogisticRegression(C=1.5).fit(rbf_kernel(points, gamma=0.5 / SIGMA**2), labels)
            for rows in torch.randperm(len(images)).split(100):
                x, mean, log_variance = encoded(link, images[rows])
                kernel = rbf_kernel(x.detach().numpy(), points, gamma=0.5 / SIGMA**2)
                ratio = torch.from_numpy(estimator.decision_function(kernel)).float()
                loss = decision_loss(link.decoder(x + torch.randn_like(x)), values[name][rows])
                loss = loss + WEIGHT * (kl_to_standard_normal(mean, log_variance).sum(1) - ratio).mean()
                optimizers[name].zero_grad()
                loss.backward()
                optimizers[name].step()

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="epochs of each, of which the median counts")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    decoded = MNIST(StrictModel()).read(Path(os.environ["SEMFED_DATA"]), download=False)
    images = torch.from_numpy(decoded.train[0]).float() / 255
    digits = torch.from_numpy(decoded.train[1])
    values = {"t1": (digits == 2).long(), "t2": digits}
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    with threadpool_limits(1):
        epochs = {"ours": ours(images, values), "plain": plain(images, values)}
        epochs["ours"]()  # the first fit of the density ratio has nothing to start from
        for _ in range(repeats):
            for name, epoch in epochs.items():
                start = time.process_time()
                epoch()
                seconds[name].append(round(time.process_time() - start, 3))
    told = {
        "name": RESULT.stem,
        "description": "CPU seconds of an epoch of both specific units on MNIST, one thread",
        "command": "python benchmarks/specific_unit_epoch.py",
        "settings": {"d": D, "samples": SAMPLES, "batch_size": 100, "torch": torch.__version__},
        "cpu_seconds": seconds,
        "ratio": round(statistics.median(seconds["ours"]) / statistics.median(seconds["plain"]), 4),
    }
    RESULT.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
