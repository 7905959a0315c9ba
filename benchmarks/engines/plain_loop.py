"""The hand-written loop: W1 and W2 as one would write them for this model alone, in one process or in several.

    python plain_loop.py --data-root DIR --workload W1|W2 [--processes N]

Everything is resident, the weights are views of one vector, and gradients come from autograd. Several processes are
forked once and share the weights and their sums.
"""

import multiprocessing
import time
from collections.abc import Sequence
from typing import Any

import torch
import workload
from torch import Tensor
from torch.nn.functional import cross_entropy, linear


def views(vector: Tensor) -> list[Tensor]:
    """Return the weights and biases that lie one after the other in a vector."""
    shapes = [tuple(tensor.shape) for tensor in workload.initial()]
    parts = torch.split(vector, [torch.Size(shape).numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


class Trainer:
    """One model that serves all clients of a process."""

    def __init__(self, data: workload.Data) -> None:
        self.data = data
        self.rows = torch.from_numpy(data.rows)
        self.vector = torch.cat([tensor.flatten() for tensor in workload.initial()])
        self.weights = [part.detach().requires_grad_() for part in views(self.vector)]

    def visit(self, client: int, round_: int, start: Tensor) -> Tensor:
        """Train from `start` on a client's images, one epoch; return the weights as a vector, valid until the next."""
        rows = self.rows[client][workload.shuffle(client, round_)]
        images, labels = self.data.train.index_select(0, rows), self.data.train_labels.index_select(0, rows)
        w1, b1, w2, b2, w3, b3 = self.weights
        self.vector.copy_(start)
        for k in range(0, len(rows), workload.BATCH):
            hidden = linear(images[k : k + workload.BATCH], w1, b1).relu()
            hidden = linear(hidden, w2, b2).relu()
            loss = cross_entropy(linear(hidden, w3, b3), labels[k : k + workload.BATCH])
            gradients = torch.autograd.grad(loss, self.weights)
            with torch.no_grad():
                torch._foreach_add_(self.weights, gradients, alpha=-workload.LR)
        return self.vector

    def train(self, clients: Sequence[int], round_: int, start: Tensor, total: Tensor) -> None:
        """Put the sum of the clients' weights, times their images, into `total`."""
        total.zero_()
        for client in clients:
            total.add_(self.visit(client, round_, start), alpha=workload.IMAGES)


def _serve(connection: Any, trainer: Trainer, start: Tensor, total: Tensor) -> None:
    torch.set_num_threads(1)
    while (job := connection.recv()) is not None:
        trainer.train(*job, start, total)
        connection.send(None)


def run(data: workload.Data, sampled: int, rounds: int, processes: int = 1) -> tuple[list[float], Tensor]:
    """Return the seconds of every round and the final weights as a vector."""
    trainer, seconds = Trainer(data), []
    model = trainer.vector.clone()
    totals = [torch.zeros_like(model) for _ in range(processes)]
    connections, children = [], []
    if processes > 1:
        model.share_memory_()
        context = multiprocessing.get_context("fork")
        for total in totals:
            here, there = context.Pipe()
            child = context.Process(target=_serve, args=(there, trainer, model, total.share_memory_()), daemon=True)
            child.start()
            connections.append(here)
            children.append(child)
    for round_ in range(1, rounds + 1):
        started = time.perf_counter()
        clients = workload.sample(sampled, round_, len(data.rows))
        if processes == 1:
            trainer.train(clients, round_, model, totals[0])
        else:
            for k, connection in enumerate(connections):
                connection.send((clients[k::processes], round_))
            for connection in connections:
                connection.recv()
        torch.div(sum(totals[1:], totals[0]), len(clients) * workload.IMAGES, out=model)
        seconds.append(time.perf_counter() - started)
    for connection, child in zip(connections, children, strict=True):
        connection.send(None)
        child.join()
    return seconds, model


def main() -> None:
    started = time.perf_counter()
    options = workload.arguments(__doc__.splitlines()[0], processes=1)
    data, chosen = workload.load(options.data_root), workload.WORKLOADS[options.workload]
    seconds, model = run(data, chosen.sampled, options.rounds or chosen.rounds, options.processes)
    workload.tell(started, round_s=seconds, accuracy=workload.accuracy(data, views(model)))


if __name__ == "__main__":
    main()
