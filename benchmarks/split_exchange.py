"""What the split exchange costs beside the same arithmetic in a plain loop: K = 5 clients x 6 minibatches a round.

    SEMFED_DATA=DIR python benchmarks/split_exchange.py [--rounds N] [--repeats N]

Both sides train the same encoders and decoders on the same images, in one process, with one torch thread; evaluation is
left out of both. They take turns, so that other load on the machine meets both alike. The loop differentiates through
the joined model once per minibatch; the exchange passes messages and computes every forward pass twice.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from semfed import seeding
from semfed.algorithms.contrastive import client_loss, local_centroids
from semfed.algorithms.split_learning import average, initial_decoder
from semfed.channels import ChannelState
from semfed.engine.inprocess import InProcessGrid
from semfed.flower.client.app import make_client_app
from semfed.flower.client.cache import ProcessCache
from semfed.flower.compat import task_identity
from semfed.flower.server.federation import Federation
from semfed.flower.server.run import make_strategy
from semfed.flower.trial import Trial
from semfed.models import build
from semfed.scenario import overrides
from semfed.training import minibatches
from semfed.training.isolation import isolated
from semfed.training.optimizers import make_optimizer


class Loop:
    """The arithmetic of a FedCL round without messages."""

    def __init__(self, trial: Trial, root: Path, strategy: Any) -> None:
        scenario, cache, cpu = trial.scenario, ProcessCache(), torch.device("cpu")
        self.trial, self.strategy = trial, strategy  # the strategy lends its centroid generator
        self.channel = scenario.channel.make()
        dataset = cache.dataset(trial, root, cpu)
        rows = [torch.from_numpy(cache.rows(trial, root, k)) for k in range(len(scenario.clients))]
        self.images = [cache.images(trial, root, cpu, r) for r in rows]
        self.labels = [dataset.train.labels[r] for r in rows]
        width, seed = scenario.channel.settings.width, trial.seed
        self.chains = [
            nn.ModuleDict(
                {
                    "encoder": build(scenario.model.encoder, dataset.shape, outputs=width, stream=(seed, "encoder", 0)),
                    "decoder": initial_decoder(scenario, seed),
                }
            ).train()
            for _ in rows
        ]
        self.optimizers = [make_optimizer(scenario.training, list(chain.parameters())) for chain in self.chains]

    def round(self, round_: int) -> None:
        centroids, local = self.strategy.centroids(), []
        for k, (chain, optimizer) in enumerate(zip(self.chains, self.optimizers, strict=True)):
            generator = seeding.torch_generator(0, "loop", k, round_)
            parameters, sent = list(chain.parameters()), []
            for batch in torch.split(*minibatches(len(self.labels[k]), self.trial.scenario.training, generator)):
                labels = self.labels[k][batch]
                received = 2**0.5 * self.channel(chain["encoder"](self.images[k][batch]), ChannelState(generator))
                logits = chain["decoder"](received)
                loss = client_loss(logits, received, labels, centroids, self.strategy.lambda_ms)
                optimizer.step(torch.autograd.grad(loss, parameters))
                sent.append((received.detach(), labels))
            features, labels = (torch.cat(parts) for parts in zip(*sent, strict=True))
            local.append(local_centroids(features, labels, self.strategy.classes))
        self.strategy.learn(local)
        mean = average([chain["decoder"] for chain in self.chains], [len(labels) for labels in self.labels])
        for chain in self.chains:
            chain["decoder"].load_state_dict(mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds per measurement")
    parser.add_argument("--repeats", type=int, default=7, help="measurements, of which the median counts")
    options = parser.parse_args()
    root = Path(os.environ["SEMFED_DATA"])
    trial = Trial(overrides.load("fedcl-cifar10").arm("fedcl"), "fedcl", 0)
    with task_identity(), isolated():
        grid = InProcessGrid(make_client_app(), len(trial.scenario.clients), {"data-root": str(root)})
        federation = Federation(grid, trial)
        strategy = make_strategy(trial)
        strategy.federation = federation
        loop = Loop(trial, root, make_strategy(trial))

        def exchange(round_: int) -> None:
            messages = strategy.configure_train(round_, federation.initial_arrays, None, federation)
            strategy.aggregate_train(round_, federation.send_and_receive(messages))

        sides = {"exchange": exchange, "loop": loop.round}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        rounds = iter(range(1, 10**9))
        for side in sides.values():
            side(next(rounds))
        for _ in range(options.repeats):
            for name, side in sides.items():
                numbers = [next(rounds) for _ in range(options.rounds)]
                started = time.perf_counter()
                for number in numbers:
                    side(number)
                seconds[name].append((time.perf_counter() - started) / options.rounds)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(json.dumps({"seconds_per_round": medians, "ratio": medians["exchange"] / medians["loop"]}, indent=1))


if __name__ == "__main__":
    main()
