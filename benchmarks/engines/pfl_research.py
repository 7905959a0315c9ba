"""The same work by pfl-research: FederatedAveraging in its simulated backend, one process, no evaluation in between.

    python pfl_research.py --data-root DIR --workload W1|W2

Runs in an environment of its own (``make pfl``). Users and shuffles are handed to it, so that it does the same work.
"""

import itertools
import time
from typing import Any

import torch
import workload
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import nn
from torch.nn.functional import cross_entropy

NEVER = 10**6


class Network(nn.Module):
    """The shared network with the two methods that pfl-research asks for."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = workload.SIZES
        self.layers = nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c), nn.ReLU(), nn.Linear(c, d))
        with torch.no_grad():
            for parameter, start in zip(self.layers.parameters(), workload.initial(), strict=True):
                parameter.copy_(start)

    def loss(self, images: torch.Tensor, labels: torch.Tensor, eval: bool = False) -> torch.Tensor:
        return cross_entropy(self.layers(images), labels)

    @torch.no_grad()
    def metrics(self, images: torch.Tensor, labels: torch.Tensor, eval: bool = False) -> dict[str, Any]:
        return {"loss": Weighted(self.loss(images, labels).item() * len(labels), len(labels))}


class Clock(TrainingProcessCallback):
    """Notes when training begins and when every round ends."""

    def on_train_begin(self, *, model: Any) -> Metrics:
        self.moments = [time.perf_counter()]
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: Any, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        self.moments.append(time.perf_counter())
        return False, Metrics()


def main() -> None:
    started = time.perf_counter()
    options = workload.arguments(__doc__.splitlines()[0])
    data, chosen = workload.load(options.data_root), workload.WORKLOADS[options.workload]
    rounds = options.rounds or chosen.rounds
    visits = ((client, k) for k in range(1, rounds + 1) for client in workload.sample(chosen.sampled, k))
    rows = torch.from_numpy(data.rows)

    def visit(user: tuple[int, int]) -> Dataset:
        order = rows[user[0]][workload.shuffle(*user)]
        tensors = [data.train.index_select(0, order), data.train_labels.index_select(0, order)]
        return Dataset(raw_data=tensors, user_id=str(user[0]))

    users = itertools.chain(visits, itertools.repeat((0, 1)))  # it may ask for one more than it trains
    federated = FederatedDataset(visit, lambda: next(users))
    network, clock = Network(), Clock()
    model = PyTorchModel(
        network,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
    )
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=NEVER,
            train_cohort_size=chosen.sampled,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=federated, val_data=federated, postprocessors=[WeightByDatapoints()]),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=workload.LR, local_batch_size=workload.BATCH
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    seconds = [later - earlier for earlier, later in itertools.pairwise(clock.moments)]
    workload.tell(started, round_s=seconds, accuracy=workload.accuracy(data, list(network.parameters())))


if __name__ == "__main__":
    main()
