"""W3, the split exchange: how often five clients can send a 50 x 64 float32 block and get one back.

    python exchange.py --engine direct|inprocess|ray|flower [--workers N] [--seconds S]

One exchange is one step of all five clients: five messages down and five replies up, through the adapter and the client
app, sent together and awaited together. ``direct`` is the client's arithmetic without any message.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from echo_client import BLOCK, EchoClient, features_of
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from semfed.engine.local import local_grid
from semfed.flower import arrays as wire
from semfed.flower.server.federation import Federation
from semfed.flower.trial import Trial
from semfed.scenario import overrides
from semfed.training.isolation import isolated

CLIENTS = 5
SETTINGS = ['headline=""', f'learner="echo_client:{EchoClient.__name__}"', f"clients.count={CLIENTS}"]


def trial() -> Trial:
    return Trial(overrides.load("fedcl-digits", SETTINGS, arms=["fedcl"]).arm("fedcl"), "fedcl", 0)


class Exchange:
    """One step through a grid: the strategy's side of it."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.gradients = {node: np.zeros(BLOCK, np.float32) for node in grid.get_node_ids()}
        self.steps = 0

    def __call__(self) -> None:
        self.steps += 1
        config = ConfigRecord({"server-round": 1, "minibatch": self.steps})
        sent = [
            Message(
                RecordDict({"arrays": wire.record({"gradient": gradient}), "config": config}),
                node,
                "train.backward",
                group_id="1",
            )
            for node, gradient in self.gradients.items()
        ]
        for reply in self.grid.send_and_receive(sent):
            features = wire.views(cast(ArrayRecord, reply.content["arrays"]))["features"]
            self.gradients[reply.metadata.src_node_id] = features * np.float32(0.1)


def direct() -> Callable[[], None]:
    """Return the same step without messages."""
    gradients = [np.zeros(BLOCK, np.float32) for _ in range(CLIENTS)]
    blocks = [features_of(k) for k in range(CLIENTS)]

    def step() -> None:
        for k in range(CLIENTS):
            gradients[k] = (blocks[k] - np.float32(0.01) * gradients[k]) * np.float32(0.1)

    return step


def per_second(step: Callable[[], None], seconds: float) -> float:
    """Return the median rate over ten spans of time, after a first span to warm up."""
    rates = []
    for _ in range(11):
        started, count = time.perf_counter(), 0
        while (passed := time.perf_counter() - started) < seconds / 11:
            step()
            count += 1
        rates.append(count / passed)
    return statistics.median(rates[1:])


def measure(grid: Grid, seconds: float) -> dict[str, float]:
    """Measure through the engine's grid, and through the federation that strategies use: it adds order and accounts."""
    federation = Federation(grid, trial())
    return {
        "per_s": per_second(Exchange(grid), seconds),
        "federation_per_s": per_second(Exchange(federation), seconds),
    }


def simulate(seconds: float) -> dict[str, float]:
    """Measure in Flower's own simulation, two actors on two cores."""
    from flwr.simulation import run_simulation

    from semfed.flower.client_app import app as client_app

    server, found = ServerApp(), {}

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        found.update(measure(grid, seconds))

    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server_app=server, client_app=client_app, num_supernodes=CLIENTS, backend_config=resources)
    return found


@contextmanager
def open_grid(engine: str, workers: int | None) -> Iterator[Grid]:
    options: dict[str, Any] = {"workers": workers} if engine == "ray" else {}
    with isolated(), local_grid(engine, [1.0] * CLIENTS, None, **options) as grid:
        yield grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=("direct", "inprocess", "ray", "flower"), default="inprocess")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    if options.engine == "direct":
        found = {"per_s": per_second(direct(), options.seconds)}
    elif options.engine == "flower":
        found = simulate(options.seconds)
    else:
        with open_grid(options.engine, options.workers) as grid:
            found = measure(grid, options.seconds)
    print(json.dumps({name: round(value, 1) for name, value in found.items()}), flush=True)


if __name__ == "__main__":
    main()
