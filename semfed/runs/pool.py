"""What trains trials side by side, each in its folder below ``trials/``: the contract, and this machine's processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from semfed.errors import EngineError

FAILED = 3
"""Exit status of a process in which a trial failed: the run's own process finds the reason in the trial's folder."""
END_S = 10.0
"""How long processes have to end by themselves."""

One = tuple[str, int]
"""A trial: arm and seed."""


class Pool(Protocol):
    """Trains trials outside of the run's own process; a trial has ended when `semfed.runs.trials.has_ended` says so."""

    @property
    def size(self) -> int:
        """How many trials it trains side by side; 0 before it has started."""

    def start(self, count: int, wanted: Sequence[One]) -> None:
        """Train trials, `count` of them side by side; called again, it may only become larger.

        Parameters
        ----------
        count : int
        wanted : sequence of (str, int)
            In the order of the grid.
        """

    def look(self) -> bool:
        """Attend to what goes on, and say whether anything still does.

        Raises
        ------
        EngineError
            If what trains was lost.
        """

    def end(self) -> None:
        """Break off what is left."""


def in_turn(pending: Iterable[One], mine: Collection[int], begun: Collection[int]) -> list[One]:
    """Return the order in which one of several takes trials: of seeds that it knows, then of those nobody has begun.

    Arms of a seed share what is expensive to open, such as a common unit or latents, and who trains keeps it.

    Parameters
    ----------
    pending : iterable of (str, int)
        In the order of the grid.
    mine, begun : collection of int
        Seeds of which this one has trained, and anybody.

    Examples
    --------
    >>> in_turn([("a", 0), ("b", 0), ("a", 1), ("a", 2)], mine={1}, begun={0, 1})
    [('a', 1), ('a', 2), ('a', 0), ('b', 0)]
    """
    others = set(begun) - set(mine)
    return sorted(pending, key=lambda one: (one[1] not in mine, one[1] in others))


class ProcessPool:
    """Processes on this machine, which settle by locks in the run folder who trains what.

    Parameters
    ----------
    run : Path
        The run folder.
    data_root : Path or None
    options : mapping
        Of the engine `inprocess`.
    """

    def __init__(self, run: Path, data_root: Path | None, options: Mapping[str, Any]) -> None:
        self._orders = {"run": str(run), "data_root": str(data_root or ""), "options": dict(options)}
        self._workers: list[subprocess.Popen[bytes]] = []

    @property
    def size(self) -> int:
        """Processes that were started."""
        return len(self._workers)

    def start(self, count: int, wanted: Sequence[One]) -> None:
        """Start the processes that are missing."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),  # relative folders would mean others there
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        while len(self._workers) < count:
            worker = subprocess.Popen(
                [sys.executable, "-m", "semfed.runs.worker"],
                stdin=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is the run's process's to pass on
            )
            self._workers.append(worker)
            assert worker.stdin is not None
            with suppress(BrokenPipeError):  # its status says more
                worker.stdin.write(json.dumps({**self._orders, "trials": wanted}).encode() + b"\n")
                worker.stdin.flush()

    def look(self) -> bool:
        """Say whether a process is left; raises EngineError if one was killed, or did not end by itself."""
        for worker in self._workers:
            if worker.poll() == -signal.SIGKILL:
                raise EngineError(
                    f"a process, one of {self.size} beside this one, was killed, for want of memory perhaps: go on "
                    "with fewer jobs"
                )
            if worker.returncode not in (None, 0, FAILED):
                raise EngineError(
                    f"a process, one of {self.size} beside this one, ended with status {worker.returncode}: what it "
                    "said is above"
                )
        return any(worker.poll() is None for worker in self._workers)

    def end(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            try:
                worker.wait(END_S)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            assert worker.stdin is not None
            with suppress(BrokenPipeError):
                worker.stdin.close()
