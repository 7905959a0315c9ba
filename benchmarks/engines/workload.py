"""What W1 and W2 are, without any framework: the definition that the hand-written loop and pfl-research share.

NumPy and torch are all it needs, so that it runs in pfl-research's environment, too. Split, initial weights, sampled
clients and shuffles are those of the scenario ``mnist-1000.toml`` (the tests compare them stream by stream), so all
implementations do the same work and W2 must end at the same accuracy.
"""

import argparse
import itertools
import json
import os
import resource
import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

SEED, BATCH, LR = 1, 10, 0.1
CLIENTS, IMAGES = 1000, 60
SIZES = (784, 128, 64, 10)
MEAN, STD = 0.1307, 0.3081


@dataclass(frozen=True)
class Workload:
    """How many clients train in a round, and for how many rounds."""

    sampled: int
    rounds: int


WORKLOADS = {"W1": Workload(100, 10), "W2": Workload(1000, 3)}


@dataclass(frozen=True)
class Data:
    """Standardised images, shape (samples, 784), and their classes; `rows` are the clients' training images."""

    train: Tensor
    train_labels: Tensor
    rows: npt.NDArray[np.int64]
    test: Tensor
    test_labels: Tensor


def _stream(purpose: str, *indices: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(entropy=SEED, spawn_key=(zlib.crc32(purpose.encode()), *indices))


def _torch_seed(purpose: str, *indices: int) -> int:
    return int(_stream(purpose, *indices).generate_state(1, np.uint64)[0]) >> 1


def split(samples: int) -> npt.NDArray[np.int64]:
    """Return the rows of every client, shape (clients, images), sorted within a client."""
    order = np.random.default_rng(_stream("partition")).permutation(samples)
    clients = min(CLIENTS, samples // IMAGES)
    return np.sort(order[: clients * IMAGES].reshape(clients, IMAGES), axis=1)


def sample(count: int, round_: int, clients: int = CLIENTS) -> list[int]:
    """Return the clients of a round, counted from 1, in ascending order."""
    if count >= clients:
        return list(range(clients))
    drawn = np.random.default_rng(_stream("sampling", round_)).choice(clients, size=count, replace=False)
    return sorted(drawn.tolist())


def shuffle(client: int, round_: int) -> Tensor:
    """Return the order in which a client goes through its images in a round, shape (images,), int64."""
    generator = torch.Generator().manual_seed(_torch_seed("minibatches", client, round_))
    return torch.randperm(IMAGES, generator=generator)


def initial() -> list[Tensor]:
    """Return the initial weights and biases, in the order of the layers."""
    made: list[Tensor] = []
    for part, sizes in (("encoder", SIZES[:3]), ("decoder", SIZES[2:])):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_torch_seed(part, 0))
            for before, after in itertools.pairwise(sizes):
                layer = nn.Linear(before, after)
                made += [layer.weight.detach(), layer.bias.detach()]
    return made


def load(root: Path) -> Data:
    """Read MNIST below a data root."""
    raw = root / "MNIST" / "raw"
    train, test = (_images(raw / f"{part}-images-idx3-ubyte") for part in ("train", "t10k"))
    labels = [torch.from_numpy(_idx(raw / f"{part}-labels-idx1-ubyte").astype(np.int64)) for part in ("train", "t10k")]
    return Data(train, labels[0], split(len(train)), test, labels[1])


def _images(path: Path) -> Tensor:
    pixels = torch.from_numpy(_idx(path).copy())
    return pixels.flatten(1).float().div_(255).sub_(MEAN).div_(STD)


def _idx(path: Path) -> npt.NDArray[np.uint8]:
    content = path.read_bytes()
    axes = content[3]
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


@torch.no_grad()
def accuracy(data: Data, weights: Sequence[Tensor]) -> float:
    """Return the share of the test images that a network decides rightly."""
    activations = data.test
    for k in range(0, len(weights), 2):
        activations = torch.nn.functional.linear(activations, weights[k], weights[k + 1])
        if k + 2 < len(weights):
            activations = activations.relu()
    return float((activations.argmax(1) == data.test_labels).double().mean())


def arguments(description: str, **extra: Any) -> argparse.Namespace:
    """Parse the options that all implementations have; `extra` are further ones with their defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("SEMFED_DATA"))
    parser.add_argument("--workload", choices=WORKLOADS, default="W1")
    parser.add_argument("--rounds", type=int, help="instead of the workload's own number")
    for name, default in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, type=type(default))
    options = parser.parse_args()
    if options.data_root is None:
        parser.error("give --data-root or SEMFED_DATA")
    torch.set_num_threads(1)
    return options


def tell(started: float, **found: Any) -> None:
    """Print what an implementation measured: one line of JSON, the last of its output."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    wall = time.perf_counter() - started
    print(json.dumps({**found, "wall_s": round(wall, 3), "max_rss_mb": usage.ru_maxrss // 1024}), flush=True)
