"""One step of W1, batch 10, as the library takes it and compiled by `torch.compile`: microseconds, in turns.

    TORCHINDUCTOR_CACHE_DIR=$(mktemp -d) python compiled_step.py

Needs a C++ compiler, which the library itself does not; without a fresh cache compiling is quicker the second time.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch
import workload
from torch import Tensor, nn

from semfed.training.end_to_end import EndToEnd
from semfed.training.fused.dense import Dense
from semfed.training.fused.fully_connected import FullyConnectedStep
from semfed.training.objective import Batch, Build, Networks

CALLS, TURNS = 100, 40


class Pair(EndToEnd):
    """What is minimised; the networks are the benchmark's own."""

    def networks(self, build: Build) -> Networks:
        raise NotImplementedError


def fused(weights: Sequence[Tensor]) -> FullyConnectedStep:
    """Return what the library trains this network with, on these weights and biases."""
    layers = [nn.utils.skip_init(nn.Linear, w.shape[1], w.shape[0]) for w in weights[::2]]
    for layer, weight, bias in zip(layers, weights[::2], weights[1::2], strict=True):
        layer.weight.data, layer.bias.data = weight, bias
    return FullyConnectedStep(workload.LR, Dense(layers[:2], [True, True]), Dense(layers[2:], [False]))


def compiled(weights: Sequence[Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the step as one function, written for the compiler to fuse as it likes."""
    w1, b1, w2, b2, w3, b3 = weights

    @torch.compile
    def step(inputs: Tensor, labels: Tensor) -> Tensor:
        hidden = torch.relu(torch.addmm(b1, inputs, w1.t()))
        symbols = torch.relu(torch.addmm(b2, hidden, w2.t()))
        log_chances = torch.log_softmax(torch.addmm(b3, symbols, w3.t()), 1)
        slope = (log_chances.exp() - nn.functional.one_hot(labels, len(b3))) / len(labels)
        to_symbols = (slope @ w3) * (symbols > 0)
        to_hidden = (to_symbols @ w2) * (hidden > 0)
        for weight, bias, up, below in (
            (w3, b3, slope, symbols),
            (w2, b2, to_symbols, hidden),
            (w1, b1, to_hidden, inputs),
        ):
            weight.addmm_(up.t(), below, alpha=-workload.LR)
            bias.add_(up.sum(0), alpha=-workload.LR)
        return -log_chances.gather(1, labels[:, None]).mean()

    return step


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(workload.SEED)
    images = torch.randn(workload.BATCH, workload.SIZES[0], generator=generator)
    labels = torch.randint(0, workload.SIZES[-1], (workload.BATCH,), generator=generator)
    batch, pair = Batch(images, labels), Pair()
    ours, theirs = fused(workload.initial()), compiled(workload.initial())
    steps = {"semfed": lambda: ours(pair, batch, lambda sent: sent), "compiled": lambda: theirs(images, labels)}
    started = time.perf_counter()
    losses = {name: torch.stack([call() for _ in range(3)]) for name, call in steps.items()}
    compiling = time.perf_counter() - started
    torch.testing.assert_close(losses["semfed"], losses["compiled"])  # the same work
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(TURNS):
        for name, call in steps.items():
            begun = time.perf_counter()
            for _ in range(CALLS):
                call()
            taken[name].append((time.perf_counter() - begun) / CALLS * 1e6)
    found = {name: round(statistics.median(times), 1) for name, times in taken.items()}
    print(json.dumps({"us_per_step": found, "compile_s": round(compiling, 1), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
