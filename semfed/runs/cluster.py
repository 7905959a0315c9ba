"""Trials side by side on a Ray cluster, whose machines need not share a file system with the run's.

An actor trains a trial in the run folder itself where it can see that, and lock it: then a trial that is broken off
goes on from its last checkpoint, as with processes. Elsewhere it trains in a folder of its own, whose files travel when
the trial has ended; one that is broken off begins anew.
"""

import shutil
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from semfed.errors import EngineError, RunFolderError
from semfed.flower.client.cache import ProcessCache
from semfed.runs import origins, trials
from semfed.runs.pool import One, in_turn
from semfed.scenario import Scenario, plugins, validate

POLL_S = 0.5
SIGHT_S = 120.0
"""How long what an actor has written may take to be seen here: network file systems keep what they know of folders."""
Files = Mapping[str, bytes]
"""What is in a folder, by names relative to it."""


class TrialTrainer:
    """What an actor does: it trains trials one after the other, and keeps the data that it has opened.

    Parameters
    ----------
    run : Path
        The run folder, where the run's own process has it.
    sign : str
        Name of a file below ``trials/``, by which a machine tells that it sees the run folder, and not another one that
        is called the same.
    scenario : str
        Of the run, as TOML.
    folders : sequence of str
        Where parts of the scenario are found that are no entry points.
    data_root : Path or None
    options : mapping
        Of the engine `inprocess`.
    """

    def __init__(
        self,
        run: Path,
        sign: str,
        scenario: str,
        folders: Sequence[str],
        data_root: Path | None,
        options: Mapping[str, Any],
    ) -> None:
        for folder in folders:
            plugins.search_in(Path(folder))
        self._run, self._sign = run, sign
        self._scenario = validate(tomllib.loads(scenario))
        self._root, self._options, self._cache = data_root, dict(options), ProcessCache()

    def __call__(self, arm: str, seed: int) -> tuple[bool, Files | None]:
        """Train a trial that nobody else trains.

        Returns
        -------
        ended : bool
            Whether it is complete, or its error noted.
        files : mapping of str to bytes, or None
            Its folder's; None if that is in the run folder.
        """
        folder = trials.folder_of(self._run, arm, seed)
        lock = self._claimed(folder) if (self._run / trials.TRIALS / self._sign).is_file() else None
        if lock is not None:
            with lock:
                if not trials.has_ended(folder):
                    self._train(folder, arm, seed)
                return trials.has_ended(folder), None
        with tempfile.TemporaryDirectory(prefix="semfed-trial-") as scratch:
            folder = Path(scratch) / folder.name
            self._train(folder, arm, seed)
            return trials.has_ended(folder), content(folder)

    def _train(self, folder: Path, arm: str, seed: int) -> None:
        with suppress(Exception):  # its folder says what failed
            trials.perform(folder, self._scenario, arm, seed, self._root, self._cache, self._options)

    def _claimed(self, folder: Path) -> IO[str] | None:
        """Wait for an actor that is taken for dead but still trains; None where files cannot be locked."""
        with suppress(RunFolderError):
            while (lock := trials.claim(folder)) is None:
                time.sleep(POLL_S)
            return lock
        return None


class RayPool:
    """Trials in Ray actors of one CPU each; a pool as `semfed.runs.pool.Pool`.

    Parameters
    ----------
    run : Path
        The run folder.
    scenario : Scenario
        Of the run.
    data_root : Path or None
        At the same place on all machines.
    options : mapping
        Of the engine `inprocess`.
    address : str, optional
        Of a cluster to join; a private one is started by default.
    gpus : float, default 0
        Share of a GPU for every trial.
    """

    def __init__(
        self,
        run: Path,
        scenario: Scenario,
        data_root: Path | None,
        options: Mapping[str, Any],
        *,
        address: str | None = None,
        gpus: float = 0.0,
    ) -> None:
        self._run, self._sign = run, f"run-{uuid4().hex}"
        told = (scenario.to_toml(), origins.plugin_folders(scenario), data_root, options)
        self._make = partial(TrialTrainer, run, self._sign, *told)
        self._where: dict[str, Any] = {"address": address, "gpus": gpus}
        self._actors: Any = None
        self._pending: list[One] = []
        self._seeds: list[set[int]] = []
        self._with: dict[int, One] = {}
        self._unseen: dict[One, float] = {}

    @property
    def size(self) -> int:
        """How many actors there are."""
        return len(self._seeds)

    def start(self, count: int, wanted: Sequence[One]) -> None:
        """Start the actors, once; raises EngineError if Ray cannot be started or joined, or has no room for them."""
        if self._actors is not None:
            return
        from semfed.engine.ray.pool import ActorPool

        self._post()
        self._actors = ActorPool(self._make, count, **self._where)
        self._seeds = [set() for _ in range(count)]
        self._pending = [one for one in wanted if not trials.has_ended(trials.folder_of(self._run, *one))]

    def _post(self) -> None:
        (self._run / trials.TRIALS).mkdir(exist_ok=True)
        (self._run / trials.TRIALS / self._sign).touch()

    def look(self) -> bool:
        """Take what has ended, and give those who are idle the next trials."""
        if self._actors is None:
            return False
        for actor, name, (ended, files) in self._actors.take():
            arm, seed = self._with.pop(actor)
            folder = trials.folder_of(self._run, arm, seed)
            if not ended:
                raise EngineError(f"{name} has no end where a Ray actor ran it: is that machine's disk full?")
            if files is None:
                self._unseen[arm, seed] = time.monotonic() + SIGHT_S
            else:
                receive(folder, files)
        for one in [one for one in self._unseen if trials.has_ended(trials.folder_of(self._run, *one))]:
            del self._unseen[one]
        for (arm, seed), due in self._unseen.items():
            if time.monotonic() > due:
                raise EngineError(
                    f"{arm}, seed {seed} has ended on another machine, but '{self._run}' does not show it: go on with "
                    "--resume, on a file system that does"
                )
        for actor in self._actors.idle if self._pending else ():
            self._give(actor)
        return bool(self._pending or self._unseen or self._with)

    def _give(self, actor: int) -> None:
        mine, begun = self._seeds[actor], set[int]().union(*self._seeds)
        if self._pending:
            one = in_turn(self._pending, mine, begun)[0]
            self._pending.remove(one)
            mine.add(one[1])
            self._with[actor] = one
            self._actors.give(actor, f"{one[0]}, seed {one[1]}", *one)

    def end(self) -> None:
        """End the actors, and a private cluster."""
        if self._actors is not None:
            self._actors.close()


def content(folder: Path) -> Files:
    """Return the files of a folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def receive(folder: Path, files: Files) -> None:
    """Put a folder where it is seen as a whole or not at all; what was there before is removed.

    Parameters
    ----------
    folder : Path
        Of a trial, whose parent exists.
    files : mapping of str to bytes
        From `content`.

    Raises
    ------
    RunFolderError
        If it cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
            made = Path(scratch) / folder.name
            for name, data in files.items():
                path = made / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    except OSError as error:
        raise RunFolderError(f"'{folder}' cannot be written ({error}): make room, then go on with --resume") from error
