"""One epoch of both specific units on MNIST: ours against a plain loop that does the reference's work.

The reference sends every image through the frozen common unit again in every step, and its density-ratio estimator is
scikit-learn's logistic regression on the full kernel matrix of 4000 points (fitted once an epoch and task, evaluated
in every step, without a gradient). Ours keeps the common unit's output, fits 300 centres and takes the path gradient.

Run: ``SEMFED_DATA=... python benchmarks/specific_unit_epoch.py``. Prints seconds and their ratio, one torch thread.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from semfed.clients import specific_unit
from semfed.clients.specific_unit import Link, RateSettings
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor, nn

from semfed.channels import ChannelSettings
from semfed.channels.awgn import AWGN
from semfed.data.sources import MNIST
from semfed.decisions import decision_loss
from semfed.models.gaussian import GaussianEncoder, sample
from semfed.rate import kl_to_standard_normal
from semfed.scenario import TrainingSettings
from semfed.settings import StrictModel

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
    mean, log_variance = inputs.chunk(2, dim=1)
    return sample(mean, log_variance, generator)


def ours(images: Tensor, values: dict[str, Tensor]) -> Callable[[], None]:
    common, links = networks()
    with torch.no_grad():
        inputs = torch.cat(common(images), dim=1)  # once for all epochs, so not timed
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


def seconds(epoch: Callable[[], None], repeats: int) -> float:
    epoch()  # a cold start, and the first fit
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        epoch()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def main() -> None:
    torch.set_num_threads(1)
    decoded = MNIST(StrictModel()).read(Path(os.environ["SEMFED_DATA"]), download=False)
    images = torch.from_numpy(decoded.train[0]).float() / 255
    digits = torch.from_numpy(decoded.train[1])
    values = {"t1": (digits == 2).long(), "t2": digits}
    ours_s, plain_s = seconds(ours(images, values), 5), seconds(plain(images, values), 3)
    print(json.dumps({"ours_s": ours_s, "plain_s": plain_s, "ratio": ours_s / plain_s}))


if __name__ == "__main__":
    main()
