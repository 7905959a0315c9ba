"""One random generator per (seed, purpose, client, round): nothing here depends on a global generator.

Streams of different purposes, clients or rounds are independent, and none depends on the arm, on the engine or on
the order in which clients are served. That is what makes arms comparable and a cluster of one equal to individual
training, bit for bit.
"""

import ctypes
import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.random.mtrand import get_bit_generator, set_bit_generator


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
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(int(state[0]) >> 1)  # torch.manual_seed would set those of GPUs, too
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def seed_globals(seed: int, purpose: str, *indices: int) -> None:
    """Start the global generators of torch, NumPy and Python on a stream, for code of others that draws from them."""
    random.seed(repr((seed, purpose, indices)))  # hashes the text, in a tenth of the time of a seed sequence
    number = random.getrandbits(32)
    torch.default_generator.manual_seed(number)
    if _uses_cuda():
        torch.cuda.manual_seed_all(number)
    np.random.seed(number)  # noqa: NPY002


@contextmanager
def own_globals(seed: int, purpose: str, *indices: int) -> Iterator[None]:
    """Lend the global generators of torch, NumPy and Python a stream, see `seed_globals`, and put theirs back.

    What one context finds is what it leaves, whichever others are nested in it, overlap with it or never end.
    """
    of_torch, of_python = torch.default_generator.get_state(), random.getstate()
    of_cuda = torch.cuda.get_rng_state_all() if _uses_cuda() else None
    with _numpy_kept():
        try:
            seed_globals(seed, purpose, *indices)
            yield
        finally:
            torch.default_generator.set_state(of_torch)
            random.setstate(of_python)
            if of_cuda is not None:
                torch.cuda.set_rng_state_all(of_cuda)


_MT19937_BYTES = 2500
"""Of its state in memory, 624 words and a position: copying these takes 1 us, ``get_state`` 30 us."""


@contextmanager
def _numpy_kept() -> Iterator[None]:
    """Let NumPy's global generator be seeded and drawn from, and put its state back."""
    generator = get_bit_generator()
    if not isinstance(generator, np.random.MT19937):  # the only kind that can be seeded
        everything = np.random.get_state(legacy=False)  # noqa: NPY002
        set_bit_generator(np.random.MT19937())
        try:
            yield
        finally:
            set_bit_generator(generator)
            np.random.set_state(everything)  # noqa: NPY002
        return
    place = generator.ctypes.state_address
    before = ctypes.string_at(place, _MT19937_BYTES)
    number = np.random.standard_normal()  # noqa: NPY002 - made in pairs: the second one waits outside of that state
    waiting = number if ctypes.string_at(place, _MT19937_BYTES) == before else None
    try:
        yield
    finally:
        set_bit_generator(generator)  # lets no number wait
        ctypes.memmove(place, before, _MT19937_BYTES)
        if waiting is not None:
            state = np.random.get_state(legacy=False)  # noqa: NPY002
            np.random.set_state({**state, "has_gauss": 1, "gauss": waiting})  # noqa: NPY002


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
