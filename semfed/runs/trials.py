"""One trial as a run of its own in a folder of its own, and how it is told to the run that it belongs to.

A process beside the run's own leaves its trials below ``trials/`` of the run folder, an earlier run leaves them in a
cache. Whoever runs the grid takes them from there in its order and tells them to the callbacks as if they had been
trained just now. So the run folder is the same, whoever trained what, and a trial that is underway has checkpoints of
its own.
"""

import fcntl
import json
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from semfed import checkpoint as checkpoints
from semfed import errors
from semfed.checkpoint import Checkpoint
from semfed.checkpoint.manifest import CLIENTS, FOLDER
from semfed.engine.local import local_grid
from semfed.errors import EngineError, RunFolderError, SemfedError
from semfed.events.callbacks import Callback
from semfed.flower.client.cache import ProcessCache
from semfed.flower.server.run import run_trials
from semfed.flower.trial import Trial
from semfed.runs import folder as folders
from semfed.runs.follower import Follower
from semfed.runs.recorder import Recorder
from semfed.scenario import Scenario

TRIALS = "trials"
"""Folder of a run folder; it goes when the run is complete."""
FAILED = "failed.json"


def name_of(arm: str, seed: int) -> str:
    """Return what files and folders of a trial are called."""
    return f"{arm}-seed{seed}"


def folder_of(run: Path, arm: str, seed: int) -> Path:
    """Return the folder of a trial that is not run in the run's own process."""
    return run / TRIALS / name_of(arm, seed)


def is_complete(folder: Path) -> bool:
    """Whether a folder holds a trial, or a run, that came to its end."""
    try:
        return bool(json.loads((folder / folders.SUMMARY).read_text(encoding="utf-8"))["complete"])
    except FileNotFoundError:  # or taken away at this moment, since the trial goes on
        return False


def has_ended(folder: Path) -> bool:
    """Whether a trial is complete, or failed."""
    return is_complete(folder) or (folder / FAILED).is_file()


def claim(folder: Path) -> IO[str] | None:
    """Make this process the only one that runs a trial, until the returned file is closed or the process ends.

    Returns
    -------
    file or None
        None if another process runs it.

    Raises
    ------
    RunFolderError
        If the folder lies where files cannot be locked, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder.with_name(f"{folder.name}.lock").open("a", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        raise RunFolderError(f"'{folder}' cannot be locked ({error.strerror}): run with --jobs 1") from error
    return file


def only(scenario: Scenario, arm: str, seed: int) -> Scenario:
    """Return a scenario of one trial; its headline is one that its arm measures, which that of all need not be."""
    arms = [one for one in scenario.arms if one.name == arm]
    return scenario.model_copy(update={"arms": arms, "seeds": (seed,), "sweep": None, "headline": ""})


def perform(
    folder: Path,
    scenario: Scenario,
    arm: str,
    seed: int,
    data_root: Path | None,
    cache: ProcessCache,
    options: dict[str, Any],
) -> None:
    """Run one trial in its own folder, from its last checkpoint there if it has one; an error is noted there, too.

    Parameters
    ----------
    folder : Path
        Of the trial.
    scenario : Scenario
        Of the run.
    arm : str
    seed : int
    data_root : Path or None
    cache : ProcessCache
        Of this process.
    options : dict
        Of the engine `inprocess`.
    """
    single = only(scenario, arm, seed)
    (folder / FAILED).unlink(missing_ok=True)
    try:
        before = checkpoints.read(folder, single.digest) or Checkpoint(uuid4().hex)
        states = folder / FOLDER / CLIENTS
        with local_grid("inprocess", [1.0] * len(scenario.clients), data_root, states, cache=cache, **options) as grid:
            run_trials(grid, single, [Recorder(folder, engine="inprocess")], resume=before)
    except Exception as error:
        if not isinstance(error, SemfedError):
            folders.note_error(folder, f"{arm}, seed {seed} ended", "".join(traceback.format_exception(error)))
        told = {"kind": type(error).__name__, "message": str(error)}
        folders.write_atomically(folder / FAILED, json.dumps(told))
        raise


def failure(folder: Path) -> SemfedError | None:
    """Return what ended a trial, as it was raised where it ran; None if nothing did."""
    if not (folder / FAILED).is_file():
        return None
    told = folders.read_json(folder / FAILED)
    kind = getattr(errors, told["kind"], None)
    if kind is None:
        return EngineError(f"{told['kind']}: {told['message']}")
    found: SemfedError = kind(told["message"])
    return found


def replay(
    source: Path, trial: Trial, callbacks: Sequence[Callback], *, run: str, resume: Checkpoint | None = None
) -> None:
    """Tell callbacks of a trial that is in a folder, as `semfed.flower.server.run.run_arm` would have.

    Parameters
    ----------
    source : Path
        Folder of one trial.
    trial : Trial
    callbacks : sequence of Callback
    run : str
        Name of the run for checkpoints.
    resume : Checkpoint, optional
        Of a round of this trial: what was before has been told.

    Raises
    ------
    RunFolderError
        If the folder is damaged.
    """
    Follower(source, callbacks, after=-1 if resume is None else resume.round or 0).pass_on()
    for callback in callbacks if any(folders.each_line(source / folders.OUTCOMES)) else ():
        callback.on_checkpoint(Checkpoint(run, trial.arm, trial.seed, trial=trial.digest))
