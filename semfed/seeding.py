"""One random generator per (seed, purpose, client, round): no global generator is ever read or set.

Streams of different purposes, clients or rounds are independent, and none depends on the arm, on the engine or on
the order in which clients are served. That is what makes arms comparable and a cluster of one equal to individual
training, bit for bit.
"""

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def sequence(seed: int, purpose: str, *indices: int) -> np.random.SeedSequence:
    """Return the seed sequence of a purpose.

    Parameters
    ----------
    seed : int
        The experiment's seed, 0 or greater.
    purpose : str
        What the numbers are for, such as ``"partition"`` or ``"training"``.
    *indices : int
        Client, round, and whatever else tells one stream from another.
    """
    return np.random.SeedSequence(entropy=seed, spawn_key=(zlib.crc32(purpose.encode()), *indices))


def numpy_generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Return a NumPy generator (PCG64) for a purpose; see `sequence`.

    Examples
    --------
    >>> a, b = (numpy_generator(0, "partition").integers(100, size=3).tolist() for _ in range(2))
    >>> a == b
    True
    """
    return np.random.default_rng(sequence(seed, purpose, *indices))


def torch_generator(seed: int, purpose: str, *indices: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator for a purpose; see `sequence`. CPU and CUDA draw different numbers from one seed."""
    state = sequence(seed, purpose, *indices).generate_state(1, np.uint64)
    return torch.Generator(device=device).manual_seed(int(state[0]) >> 1)


@contextmanager
def initialisation(seed: int, purpose: str, *indices: int) -> Iterator[None]:
    """Give module constructors, which draw from torch's global generator, a stream of their own.

    The global state is put back afterwards.
    """
    state = sequence(seed, purpose, *indices).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(state[0]) >> 1)
        yield


@contextmanager
def of_python(seed: int, purpose: str, *indices: int) -> Iterator[None]:
    """Give code that draws from Python's global generator, as Flower's own strategies do, a stream of its own.

    The global state is put back afterwards.
    """
    before = random.getstate()
    random.seed(int(sequence(seed, purpose, *indices).generate_state(1, np.uint64)[0]))
    try:
        yield
    finally:
        random.setstate(before)
