"""The grid of trials: which of them are run here, beside this process, or not at all because they are there already."""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from semfed.checkpoint import Checkpoint
from semfed.events.callbacks import Callback, TrialsProgress
from semfed.events.records import Record
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.together import why_arm_alone
from semfed.flower.server.run import run_arm
from semfed.flower.trial import Trial
from semfed.runs import folder as folders
from semfed.runs import trials
from semfed.runs.kept import KeptTrials
from semfed.runs.pool import Pool, ProcessPool
from semfed.runs.stacked import perform_together
from semfed.scenario import Scenario
from semfed.training import pick_device

WORTH_S = 30.0
"""Seconds of training that the other trials must be expected to take before processes are started unasked."""
POLL_S, TELL_S = 0.05, 0.25


class TrialGrid(Callback):
    """Runs the trials of a run, in the grid's order for all who are told: a context and a callback after the recorder.

    Parameters
    ----------
    folder : Path
        The run folder.
    scenario : Scenario
    data_root : Path or None
    cache : ProcessCache
        With data that this process has opened.
    jobs : int, optional
        Trials side by side; unset, it is decided after the first round: as many as there are cores, trials and room in
        memory, if that saves time, and one where a GPU is used.
    together : int, optional
        Seeds of an arm that train side by side in this process; see `semfed.runs.stacked`.
    kept : KeptTrials, optional
        Trials of earlier runs.
    options : mapping
        Of the engine `inprocess`.
    pool : Pool, optional
        Trains every trial that is not kept; processes beside this one by default, if there are several trials.
    """

    def __init__(
        self,
        folder: Path,
        scenario: Scenario,
        data_root: Path | None,
        cache: ProcessCache,
        *,
        jobs: int | None = None,
        together: int = 1,
        kept: KeptTrials | None = None,
        options: Mapping[str, Any] | None = None,
        pool: Pool | None = None,
    ) -> None:
        self.folder, self.scenario = folder, scenario
        self._root, self._cache, self._options = data_root, cache, dict(options or {})
        self._pool: Pool = pool or ProcessPool(folder, data_root, self._options)
        self._fewest = 2 if pool is None else 1
        self._jobs, self._why, self._kept = jobs if together == 1 else 1, "as asked for", kept
        self._together, self._beside = together, 1
        self._told: Sequence[Callback] = ()
        self._before = Checkpoint("")
        self._left: list[tuple[str, int]] = []
        self._rounds = {arm: scenario.arm(arm).rounds for arm in scenario.arm_names}
        self._here, self._due = False, 0.0

    # -- as a callback: when to start processes -----------------------------------------------------------

    def on_resume(self, checkpoint: Checkpoint) -> None:
        """Take note of what is done already."""
        self._before = checkpoint

    def on_run_start(self, scenario: Scenario) -> None:
        """Look at what is left."""
        self._left = [(arm, seed) for seed, arm in self._before.remaining(scenario)]
        for one in self._left:
            (trials.folder_of(self.folder, *one) / trials.FAILED).unlink(missing_ok=True)

    def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
        """After a round that was run here, decide how many trials run side by side."""
        if self._jobs is None and self._here and round_ > 0:
            self._decide(seconds)
        if self._pool.size:
            self._tell(round_)

    def on_arm_end(self, *_: object) -> None:
        """Cross the trial off."""
        self._left = self._left[1:]

    # -- the trials ---------------------------------------------------------------------------------------

    def obtain(
        self, grid: Any, trial: Trial, told: Sequence[Callback], *, run: str = "", resume: Checkpoint | None = None
    ) -> None:
        """Run a trial as `semfed.flower.server.run.run_arm`, or tell of it what another process, or run, has found.

        Raises
        ------
        SemfedError
            What ended the trial, here or there.
        EngineError
            If what trains beside this process was lost.
        """
        self._told = told
        if self._pool.size or ((self._jobs or 1) > 1 and len(self._left) >= self._fewest):
            self._start()
        if self._together > 1 and resume is None:
            self._perform_together(trial.arm)
        source = self._found(trial, resume)
        self._here = source is None
        if source is None:
            run_arm(grid, trial, told, run=run, resume=resume)
            return
        errors = source / folders.ERRORS
        if errors.is_file():
            with (self.folder / folders.ERRORS).open("a", encoding="utf-8") as file:
                file.write(errors.read_text(encoding="utf-8"))
        trials.replay(source, trial, told, run=run, resume=resume)
        problem = trials.failure(source)
        if problem is not None:
            raise problem

    def _found(self, trial: Trial, resume: Checkpoint | None) -> Path | None:
        """Wait for a trial that is run beside this process; None if it is to be run here."""
        kept = self._kept.find(trial) if self._kept is not None else None
        if kept is not None:
            return kept
        folder = trials.folder_of(self.folder, trial.arm, trial.seed)
        while not trials.has_ended(folder):
            if not self._pool.look():
                if resume is not None or not folder.is_dir():
                    return None
                lock = trials.claim(folder)
                if lock is not None:
                    with lock, suppress(Exception):  # an earlier run has left it underway; the folder says what failed
                        trials.perform(
                            folder, self.scenario, trial.arm, trial.seed, self._root, self._cache, self._options
                        )
            if self._pool.size:
                self._tell()
            time.sleep(POLL_S)
        return folder

    def _not_kept(self, begin: int = 0) -> list[tuple[str, int]]:
        """Return the trials that are left, from one of them on, but for those of earlier runs."""
        return [one for one in self._left[begin:] if self._kept is None or not self._kept.has(*one)]

    def _perform_together(self, arm: str) -> None:
        """Run the next seeds of an arm in step, unless the first of them is there, or its clients cannot be stacked."""
        waiting = [
            one
            for one in self._not_kept()
            if one[0] == arm and not trials.has_ended(trials.folder_of(self.folder, *one))
        ]
        alone = why_arm_alone(self.scenario.arm(arm)) is not None
        if waiting[:1] != self._left[:1] or len(waiting) == 1 or alone:
            return
        chosen = waiting[: self._together]
        self._beside = len(chosen)
        perform_together(self.folder, self.scenario, chosen, self._root, self._cache, self._options, self._tell)
        self._beside = 1

    # -- side by side -------------------------------------------------------------------------------------

    def _decide(self, seconds: float) -> None:
        """Choose how many trials run side by side, from the time and the memory that a round takes here."""
        others = self._left[1:]
        if seconds * sum(self._rounds[arm] for arm, _ in others) < WORTH_S:
            return
        cores, memory = _cores(), psutil.Process().memory_info().rss
        free = psutil.virtual_memory().available
        self._jobs = min(cores, 1 + len(others), 1 + int(free / memory))
        self._why = (
            f"{cores} cores, and a trial takes {memory / 1e6:,.0f} MB of memory, of which {free / 1e6:,.0f} MB are free"
        )
        if _is_bound_to_this_process(self.scenario):
            self._jobs, self._why = 1, "a GPU, or code of this session, is used; ask for more with --jobs"
        self._tell()
        self._start(here=1)

    def _start(self, here: int = 0) -> None:
        """Let as many trials be trained side by side as are asked for; `here` of them are run by this process."""
        wanted = self._not_kept(here)
        count = min((self._jobs or 1) - here, len(wanted))
        if count > self._pool.size:
            self._pool.start(count, wanted)
        if count:
            self._tell()

    def _tell(self, round_: int = 0) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + TELL_S
        progress = self._progress(round_)
        for callback in self._told:
            callback.on_trials(progress)

    def _progress(self, round_: int = 0) -> TrialsProgress:
        """Count what is done: of the trials that are left, by the lines of their folders."""
        pairs = [(arm, seed) for seed in self.scenario.seeds for arm in self.scenario.arm_names]
        total = {one: self._rounds[one[0]] for one in pairs}
        done = {one: total[one] for one in pairs if one not in self._left}
        for one in self._left:
            path = trials.folder_of(self.folder, *one) / folders.TIMING
            done[one] = max(0, path.read_bytes().count(b"\n") - 1) if path.is_file() else 0
        if self._left:
            done[self._left[0]] = max(round_, done[self._left[0]])
        finished = sum(done[one] == total[one] for one in pairs)
        return TrialsProgress(
            max(self._jobs or 1, self._beside), self._why, len(pairs), finished, sum(total.values()), sum(done.values())
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what trains beside; where all is well, take away what it left."""
        self._pool.end()
        if error is None:
            if self._kept is not None:
                self._kept.keep(self.folder)
            shutil.rmtree(self.folder / trials.TRIALS, ignore_errors=True)


def _cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _is_bound_to_this_process(scenario: Scenario) -> bool:
    """Whether trials side by side would share one GPU, or name code that only this session has."""
    devices = {pick_device(scenario.arm(arm).training.device).type for arm in scenario.arm_names}
    return devices != {"cpu"} or "__main__:" in scenario.to_toml()
