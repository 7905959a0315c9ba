"""Private states of clients beyond a memory budget, on disk: memory does not grow with the number of clients.

Clients mostly come round in turn. Whoever made room by what was used longest ago would always send away what is wanted
next, and each time bytes that no cache holds any more. So a state goes out right after its use, unless it came back
sooner than another one has been waiting (LIRS: Jiang and Zhang, SIGMETRICS 2002, in its simplest form).
"""

import os
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, RecordDict

from semfed.errors import EngineError
from semfed.flower import arrays as wire
from semfed.flower.compat import set_fields

BUDGET_MB = 256
ALIGNMENT = 64
"""Arrays start at multiples of this many bytes, as vector instructions like it."""
AHEAD = 4
"""How many visits before its turn a state is read from the disk."""


@dataclass(frozen=True)
class Place:
    """Where an array lies in the slot of its node."""

    record: str
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Slot:
    """A node's part of the file: where it starts, and how many bytes it has room for."""

    start: int
    room: int


class Shelved(wire.LocalArray):
    """An array that was read from the file, and lies there until its slot is written the next time.

    Parameters
    ----------
    ndarray : ndarray
    start : int
        Where it lies in the slot of its node.
    reading : object
        Tells with which reading it came.
    """

    start: int
    reading: object

    def __init__(self, ndarray: npt.NDArray[Any], start: int, reading: object) -> None:
        super().__init__(ndarray)
        set_fields(self, start=start, reading=reading)


class StateSpill:
    """Takes the arrays out of states for which there is no room, and puts them back when they are wanted.

    The file has no name, so that nothing of it stays where the process is killed. It holds raw arrays, whose index is
    in memory. One call reads a state, and only arrays that are new are written again: a test changes none. As a rule
    both are copies from and to the page cache. Where that has not kept a state, the kernel is asked to read ahead:
    clients come in the order in which they came last. A thread of its own for that, which has to share Python's lock
    with the one that works, took longer on two virtual CPUs than it saved.

    Parameters
    ----------
    budget_mb : float
        Megabytes of arrays that may stay in memory, of all states together.
    """

    def __init__(self, budget_mb: float = BUDGET_MB) -> None:
        self._budget = budget_mb * 1e6
        self._inside: OrderedDict[int, tuple[RecordDict, int]] = OrderedDict()
        self._used = 0
        self._visits = 0
        self._last_visit: dict[int, int] = {}
        self._file: IO[bytes] | None = None
        self._slots: dict[int, Slot] = {}
        self._end = 0
        self._outside: dict[int, tuple[list[Place], int]] = {}
        self._readings: dict[int, object] = {}
        self._next: dict[int, int] = {}
        self._latest: int | None = None

    @property
    def disk_bytes(self) -> int:
        """Size of the file."""
        return 0 if self._file is None else os.fstat(self._file.fileno()).st_size

    def fetch(self, node: int, state: RecordDict) -> None:
        """Make a node's state whole."""
        if self._latest is not None:
            self._next[self._latest] = node
        self._latest = node
        self._read_ahead(node)
        if node not in self._outside:
            return
        places, size = self._outside[node]
        content = _read(self._open(), self._slots[node].start, size)
        del self._outside[node]
        reading = self._readings[node] = object()
        for name in dict.fromkeys(place.record for place in places):
            state[name] = ArrayRecord()
        for place in places:
            array: npt.NDArray[Any] = np.ndarray(place.shape, place.dtype, content.data, place.start)
            state[place.record][place.name] = Shelved(array, place.start, reading)  # type: ignore[assignment]

    def keep(self, node: int, state: RecordDict) -> None:
        """Take note that a node's state was just used; write it out, or others, if there is too much in memory.

        Raises
        ------
        EngineError
            If the disk is full. The states are in memory all the same.
        """
        self._used -= self._inside.pop(node, (state, 0))[1]
        size = sum(wire.count_bytes(record) for record in state.values() if isinstance(record, ArrayRecord))
        if not size:
            return
        self._visits += 1
        last = self._last_visit.get(node, 0)
        self._last_visit[node] = self._visits
        self._inside[node] = state, size
        self._used += size
        while self._used > self._budget and node in self._inside:
            oldest = next(iter(self._inside))
            self._make_room(oldest if last > self._last_visit[oldest] else node)

    def forget(self, node: int) -> None:
        """Drop what is kept of a node."""
        self._used -= self._inside.pop(node, (None, 0))[1]
        self._outside.pop(node, None)
        self._readings.pop(node, None)
        self._last_visit.pop(node, None)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read_ahead(self, node: int) -> None:
        due = node
        for _ in range(AHEAD):
            due = self._next.get(due, node)
        if due != node and due in self._outside and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._open(), self._slots[due].start, self._outside[due][1], os.POSIX_FADV_WILLNEED)

    def _make_room(self, node: int) -> None:
        state, size = self._inside[node]
        try:
            self._send_away(node, state)
        except OSError as error:
            raise EngineError(
                f"client states beyond {self._budget / 1e6:g} MB cannot be written to disk ({error}): "
                "make room, point TMPDIR at a larger disk, or raise --state-memory"
            ) from error
        del self._inside[node]
        self._used -= size

    def _send_away(self, node: int, state: RecordDict) -> None:
        records = {name: record for name, record in state.items() if isinstance(record, ArrayRecord)}
        places, arrays, end = list[Place](), list[tuple[Array, npt.NDArray[Any]]](), 0
        for record, content in records.items():
            for name, array in content.items():
                view = wire.view(array)
                start = _aligned(end) if view.nbytes else end
                places.append(Place(record, name, view.dtype, view.shape, start))
                arrays.append((array, view))
                end = start + view.nbytes
        before, slot = self._slots.get(node), self._slot(node, end)
        reading = self._readings.pop(node, None) if slot is before else None
        for place, (array, view) in zip(places, arrays, strict=True):
            lies_there = isinstance(array, Shelved) and (array.reading, array.start) == (reading, place.start)
            if not lies_there:
                _write(self._open(), view, slot.start + place.start)
        self._outside[node] = places, end
        for name in records:
            del state[name]

    def _open(self) -> int:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as this is
        return self._file.fileno()

    def _slot(self, node: int, size: int) -> Slot:
        """Return the node's part of the file; one that has become too small is left behind."""
        slot = self._slots.get(node)
        if slot is None or slot.room < size:
            slot = self._slots[node] = Slot(self._end, _aligned(size))
            self._end += slot.room
        return slot


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _read(file: int, start: int, size: int) -> npt.NDArray[np.uint8]:
    content, done = np.empty(size, dtype=np.uint8), 0
    while done < size:
        count = os.preadv(file, [content.data[done:]], start + done)
        if not count:
            raise OSError("the file of client states ends early")
        done += count
    return content


def _write(file: int, array: npt.NDArray[Any], start: int) -> None:
    left = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    while left:
        count = os.pwrite(file, left, start)
        left, start = left[count:], start + count
