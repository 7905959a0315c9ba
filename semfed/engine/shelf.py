"""Private states of clients beyond a memory budget, on disk: memory does not grow with the number of clients."""

import os
import shutil
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, RecordDict

from semfed.errors import EngineError
from semfed.flower import arrays as wire

BUDGET_MB = 256
ALIGNMENT = 64
"""Arrays start at multiples of this many bytes in a file, as vector instructions like it."""


@dataclass(frozen=True)
class Place:
    """Where an array lies in the file of its node."""

    record: str
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int


class Shelf:
    """Takes the arrays out of the states that were used longest ago, and puts them back when they are wanted.

    The files are scratch of this process alone: raw arrays, whose index stays in memory. They are removed by `close`.

    Parameters
    ----------
    folder : Path
        For the files; made when it is needed.
    budget_mb : float
        Megabytes of arrays that may stay in memory, of all states together.
    """

    def __init__(self, folder: Path, budget_mb: float = BUDGET_MB) -> None:
        self._folder = folder
        self._budget = budget_mb * 1e6
        self._inside: OrderedDict[int, tuple[RecordDict, int]] = OrderedDict()
        self._used = 0
        self._outside: dict[int, list[Place]] = {}

    def fetch(self, node: int, state: RecordDict) -> None:
        """Make a node's state whole."""
        places = self._outside.pop(node, None)
        if places is None:
            return
        content = np.fromfile(self._folder / str(node), dtype=np.uint8)
        for name in dict.fromkeys(place.record for place in places):
            state[name] = ArrayRecord()
        for place in places:
            array: npt.NDArray[Any] = np.ndarray(place.shape, place.dtype, content.data, place.start)
            state[place.record][place.name] = wire.LocalArray(array)  # type: ignore[assignment]

    def keep(self, node: int, state: RecordDict) -> None:
        """Take note that a node's state was just used; write others out if there is too much in memory.

        Raises
        ------
        EngineError
            If the disk is full. The state stays in memory.
        """
        self._used -= self._inside.pop(node, (state, 0))[1]
        size = sum(wire.count_bytes(record) for record in state.values() if isinstance(record, ArrayRecord))
        if not size:
            return
        self._inside[node] = state, size
        self._used += size
        while self._used > self._budget and len(self._inside) > 1:
            oldest, (victim, freed) = next(iter(self._inside.items()))
            self._write(oldest, victim)
            del self._inside[oldest]
            self._used -= freed

    def forget(self, node: int) -> None:
        """Drop what is kept of a node."""
        self._used -= self._inside.pop(node, (None, 0))[1]
        self._outside.pop(node, None)

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, node: int, state: RecordDict) -> None:
        places: list[Place] = []
        parts: list[memoryview] = []
        end = 0
        records = {name: record for name, record in state.items() if isinstance(record, ArrayRecord)}
        for record, content in records.items():
            for name, array in wire.views(content).items():
                places.append(Place(record, name, array.dtype, array.shape, end))
                filler = bytes(-array.nbytes % ALIGNMENT)
                parts += [np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, memoryview(filler)]
                end += array.nbytes + len(filler)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _overwrite(self._folder / str(node), parts, end)
        except OSError as error:
            raise EngineError(
                f"client states beyond {self._budget / 1e6:g} MB cannot be written to disk ({error}): "
                "make room, point TMPDIR at a larger disk, or raise --state-memory"
            ) from error
        self._outside[node] = places
        for record in records:
            del state[record]


def _overwrite(path: Path, parts: list[memoryview], size: int) -> None:
    """Write a file in place: reusing its blocks is quicker than freeing and taking them."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        offset = 0
        for part in parts:
            offset += os.pwrite(file, part, offset)
        if offset != size:
            raise OSError("the write was cut short")
        os.ftruncate(file, size)
    finally:
        os.close(file)
