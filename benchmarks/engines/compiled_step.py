"""One step of W1, batch 10, as the library takes it and compiled by `torch.compile`: microseconds, in turns.

    python compiled_step.py

Needs a C++ compiler, which the library itself does not.
"""

import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from semfed.chains import FullyConnectedChain
from semfed.models.dense import Dense

CALLS, TURNS = 100, 40
RATE = 0.1


def compiled(encoder: nn.Module, decoder: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the step as one function, written for the compiler to fuse as it likes."""
    (w1, b1, w2, b2), (w3, b3) = ([p.detach() for p in part.parameters()] for part in (encoder, decoder))

    @torch.compile
    def step(inputs: Tensor, labels: Tensor) -> Tensor:
        hidden = torch.relu(torch.addmm(b1, inputs, w1.t()))
        symbols = torch.relu(torch.addmm(b2, hidden, w2.t()))
        log_chances = torch.log_softmax(torch.addmm(b3, symbols, w3.t()), 1)
        slope = (log_chances.exp() - nn.functional.one_hot(labels, 10)) / len(labels)
        to_symbols = (slope @ w3) * (symbols > 0)
        to_hidden = (to_symbols @ w2) * (hidden > 0)
        for weight, bias, up, below in (
            (w3, b3, slope, symbols),
            (w2, b2, to_symbols, hidden),
            (w1, b1, to_hidden, inputs),
        ):
            weight.addmm_(up.t(), below, alpha=-RATE)
            bias.add_(up.sum(0), alpha=-RATE)
        return -log_chances.gather(1, labels[:, None]).mean()

    return step


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()), nn.Sequential(
        nn.Linear(64, 10)
    )


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(10, 784, generator=generator)
    labels = torch.randint(0, 10, (10,), generator=generator)
    encoder, decoder = networks()
    chain = FullyConnectedChain(RATE, Dense.of(encoder), Dense.of(decoder))
    step = compiled(*networks())
    steps = {"semfed": lambda: chain.step(images, labels, lambda sent: sent), "compiled": lambda: step(images, labels)}
    started = time.perf_counter()
    losses = {name: [float(call()) for _ in range(3)] for name, call in steps.items()}
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
