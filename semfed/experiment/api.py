"""`semfed.run`: what the command line does, from Python."""

import os
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from semfed import checkpoint as checkpoints
from semfed.callbacks import Callback
from semfed.checkpoint import Checkpoint
from semfed.engine.shelf import BUDGET_MB
from semfed.errors import CheckpointError, RunFolderError, ScenarioError
from semfed.experiment import folder as folders
from semfed.experiment.history import History
from semfed.experiment.recorder import Recorder, write_summary
from semfed.flower import preflight
from semfed.flower.worker import Worker
from semfed.overrides import load
from semfed.scenario import Scenario
from semfed.settings import suggest

ENGINES = ("inprocess", "ray", "flower")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    folder : Path
        Its run folder.
    scenario : Scenario
        What was run, resolved.
    summary : dict
        Content of ``summary.json``.
    """

    folder: Path
    scenario: Scenario
    summary: dict[str, Any]


def run(
    scenario: str | Path | None = None,
    *,
    engine: str = "inprocess",
    arms: Sequence[str] | None = None,
    seeds: Iterable[int] | None = None,
    overrides: Sequence[str] = (),
    sweep: str | None = None,
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    workers: int | None = None,
    ray_address: str | None = None,
    gpus_per_worker: float = 0.0,
    state_memory_mb: float = BUDGET_MB,
    cohort: int = 1,
) -> Run:
    """Run a scenario and return what it left behind.

    Parameters
    ----------
    scenario : str or Path, optional
        A built-in's name, a folder with ``scenario.toml``, or a TOML file; not needed to resume.
    engine : {"inprocess", "ray", "flower"}
        This process, Ray actors that keep their clients, or Flower's own Ray simulation. The numbers are the same.
    arms : sequence of str, optional
        Only these arms.
    seeds : iterable of int, optional
        These seeds instead of the scenario's.
    overrides : sequence of str
        ``PATH=VALUE`` each, such as ``channel.snr_db=5``.
    sweep : str, optional
        ``PATH=VALUE,VALUE,...``: every arm with every value, such as ``channel.snr_db=0,5,10``.
    data_root : str or Path, optional
        Where data sets are; the environment variable ``SEMFED_DATA`` by default.
    out : str or Path, optional
        The run folder; a new one below ``runs`` by default.
    resume : str or Path, optional
        A run folder to go on in, from its last checkpoint; the engine may be another one. Its scenario is the one
        that it holds: if one is given as well, the two must be equal.
    callbacks : sequence of Callback
        Told of everything, beside the recorder.
    workers : int, optional
        Engine ``ray``: number of actors; one a CPU by default.
    ray_address : str, optional
        Engine ``ray``: a cluster to join.
    gpus_per_worker : float, default 0
        Engine ``ray``: share of a GPU for every actor.
    state_memory_mb : float, default 256
        Engines ``inprocess`` and ``ray``: megabytes of client states in memory; the others lie on disk.
    cohort : int, default 1
        Engine ``inprocess``: how many clients train side by side, with stacked weights, where their learner can. The
        numbers are then the same up to float rounding only. It pays on a GPU; on a CPU it hardly does.

    Raises
    ------
    SemfedError
        One sentence about what is wrong, before any training where that is possible.
    """
    if engine not in ENGINES:
        raise ScenarioError(f"engine {engine!r} is unknown; {suggest(engine, ENGINES)}")
    if cohort < 1 or (cohort > 1 and engine != "inprocess"):
        raise ScenarioError(f"cohort = {cohort} with engine {engine!r}: cohorts of 1 or more train in process alone")
    root = find_data_root(data_root)
    if resume is not None and (Path(resume) / folders.SCENARIO).is_file():
        resolved = load(Path(resume) / folders.SCENARIO)
        if scenario is not None and load(scenario, overrides, arms=arms, seeds=seeds, sweep=sweep) != resolved:
            raise CheckpointError(f"'{resume}' is a run of another scenario: leave the scenario out to resume it")
    elif scenario is not None:
        resolved = load(scenario, overrides, arms=arms, seeds=seeds, sweep=sweep)
    else:
        raise RunFolderError(f"'{resume}' holds no {folders.SCENARIO}" if resume else "give a scenario, or --resume")
    worker = Worker()
    sizes = preflight.check(resolved, root, worker)
    target = resume or out or folders.default_folder(resolved.name, Path("runs"))
    folder = folders.create(Path(target), resume=resume is not None)
    checkpoint = (checkpoints.read(folder, resolved.digest) or Checkpoint(uuid4().hex)) if resume else None
    try:
        if engine == "flower":
            from semfed.engine.flower_simulation import simulate

            if checkpoint is not None:
                with folders.lock(folder):  # now: the lines that the run appends are followed from here
                    History(folder).cut(checkpoint)
            simulate(resolved, folder, root, callbacks, resume=checkpoint)
        else:
            from semfed.engine.local import local_grid
            from semfed.flower.server import conduct

            options: dict[str, Any] = {"state_memory_mb": state_memory_mb}
            if engine == "inprocess":
                options["cohort"] = cohort
            if engine == "ray":
                options |= {"workers": workers, "address": ray_address, "gpus_per_worker": gpus_per_worker}
            states = folder / checkpoints.FOLDER / checkpoints.CLIENTS
            with local_grid(engine, sizes, root, states, worker=worker, **options) as grid:
                conduct(grid, resolved, [Recorder(folder, engine=engine), *callbacks], resume=checkpoint)
    except BaseException as error:
        if not (folder / folders.SUMMARY).exists() and (folder / folders.METRICS).exists():
            with suppress(OSError):  # of an engine whose server was ended from here
                write_summary(folder, resolved, error)
        error.add_note(f"go on with: semfed run --resume {shlex.quote(str(folder))}{_same(engine, data_root)}")
        raise
    return Run(folder, resolved, folders.read_json(folder / folders.SUMMARY))


def _same(engine: str, data_root: str | Path | None) -> str:
    """Return the options that a run goes on with and that its folder does not know."""
    given = "" if data_root is None else f" --data-root {shlex.quote(str(data_root))}"
    return given if engine == "inprocess" else f" --engine {engine}{given}"


def find_data_root(given: str | Path | None) -> Path | None:
    """Return the absolute data root: what is given, else ``SEMFED_DATA``, else None."""
    value = given or os.environ.get("SEMFED_DATA")
    return Path(value).expanduser().resolve() if value else None
