"""What a run folder says, told to callbacks as they would have heard it from the run itself.

The folder may still grow, since another process writes it, or be complete, of a trial that was trained elsewhere.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from semfed.errors import RunFolderError
from semfed.events import strict_json
from semfed.events.callbacks import Callback, Outcome
from semfed.events.records import Record
from semfed.runs import folder as folders
from semfed.runs import networks

CHUNK = 2**20
"""Bytes of a file that are read at once."""


class Follower:
    """Tells callbacks of arms, rounds, trained networks and outcomes, each once and in the order of the run.

    Parameters
    ----------
    folder : Path
        A run folder, or one of a single trial.
    callbacks : sequence of Callback
    begin : mapping of str to int, optional
        How much of a file of the history has been told before, in bytes.
    after : int, default -1
        Rounds up to this one have been told before.
    """

    def __init__(
        self,
        folder: Path,
        callbacks: Sequence[Callback],
        *,
        begin: Mapping[str, int] | None = None,
        after: int = -1,
    ) -> None:
        self.folder, self._callbacks, self._after = folder, callbacks, after
        offsets = begin or {}
        self._records = _Lines(folder / folders.METRICS, offsets.get(folders.METRICS, 0), Record.from_json)
        self._timing, self._outcomes = (
            _Lines(folder / name, offsets.get(name, 0), strict_json.loads)
            for name in (folders.TIMING, folders.OUTCOMES)
        )
        self._current: tuple[str, int] | None = None

    def pass_on(self) -> None:
        """Tell what is new; raises RunFolderError if the folder is damaged.

        A round's time is written after its records, and an outcome after all rounds and before those of the next arm.
        """
        try:
            while True:
                outcome = self._outcomes.peek()  # first: then all rounds that it ends are there
                timing = self._timing.peek()
                if timing is not None and _key(timing) != self._current:
                    outcome = self._outcomes.peek()  # again: what was before the rounds of another arm is there now
                elif timing is not None:
                    self._tell_rounds()
                    continue
                if outcome is not None and (timing is None or _key(outcome) == self._current):
                    self._tell_outcome(self._outcomes.take())
                elif timing is not None:
                    self._enter(_key(timing))
                else:
                    return
        except (ValueError, TypeError, KeyError) as error:
            raise RunFolderError(f"'{self.folder}' is damaged: {error!r}") from error

    def _tell_rounds(self) -> None:
        """Tell rounds as long as they are of the current arm and seed."""
        assert self._current is not None
        while (timing := self._timing.peek()) is not None and _key(timing) == self._current:
            self._timing.take()
            here, records = (*self._current, timing["round"]), list[Record]()
            while (record := self._records.peek()) is not None and (record.arm, record.seed, record.round) == here:
                records.append(self._records.take())
            if timing["round"] > self._after:
                for callback in self._callbacks:
                    callback.on_round(*here, records, timing["seconds"])

    def _enter(self, key: tuple[str, int]) -> None:
        if key != self._current:
            self._current = key
            for callback in self._callbacks:
                callback.on_arm_start(*key)

    def _tell_outcome(self, told: Mapping[str, Any]) -> None:
        arm, seed = _key(told)
        self._enter((arm, seed))
        models = networks.place(self.folder, arm, seed)
        for one in networks.each(models) if (models / networks.INDEX).is_file() else ():
            for callback in self._callbacks:
                callback.on_networks(arm, seed, one)
        paths = (folders.arrays(self.folder, kind, arm, seed) for kind in folders.ARRAYS)
        arrays, samples = (load_file(path) if path.is_file() else {} for path in paths)
        outcome = Outcome(arrays, told["details"], told["baselines"], samples, best_round=told.get("best_round"))
        for callback in self._callbacks:
            callback.on_arm_end(arm, seed, outcome)


def _key(line: Mapping[str, Any]) -> tuple[str, int]:
    return line["arm"], line["seed"]


class _Lines:
    """The complete lines of a file that may grow, from an offset on, of which little is in memory at a time."""

    def __init__(self, path: Path, offset: int, read: Callable[[str], Any]) -> None:
        self._path, self._offset, self._read = path, offset, read
        self._waiting: deque[str] = deque()
        self._next: Any = None

    def peek(self) -> Any:
        """Return what the next line says; None if there is none yet."""
        if self._next is None:
            if not self._waiting:
                self._fill()
            self._next = self._read(self._waiting.popleft()) if self._waiting else None
        return self._next

    def take(self) -> Any:
        """Return it, and go on to the one after it."""
        found, self._next = self.peek(), None
        return found

    def _fill(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(CHUNK) + file.readline()
        except FileNotFoundError:
            return
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        self._waiting.extend(complete.decode().split("\n")[:-1])
