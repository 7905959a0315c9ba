"""A ServerApp that serves it with a strategy of semfed."""

import numpy as np
import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from semfed.flower.server.plain import PlainFederation

app = ServerApp()


def initial() -> ArrayRecord:
    """Return the network that everybody starts from."""
    torch.manual_seed(0)
    return ArrayRecord(torch.nn.Linear(64, 10).state_dict())


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Average, and write what came out."""
    federation = PlainFederation(grid, clients=int(context.run_config["clients"]), numbered=True)
    strategy = federation.strategy({"name": "fedavg", "fraction_train": 0.7})
    result = strategy.start(federation, initial(), num_rounds=int(context.run_config["rounds"]))
    arrays = {name: array.numpy() for name, array in result.arrays.items()}
    accuracies = [float(metrics["accuracy"]) for metrics in result.evaluate_metrics_clientapp.values()]
    np.savez(str(context.run_config["out"]), accuracies=accuracies, **arrays)
