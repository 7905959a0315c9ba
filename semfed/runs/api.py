"""`semfed.run`: what the command line does, from Python."""

import os
import shlex
import shutil
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import uuid4

from pydantic import Field, TypeAdapter, ValidationError

from semfed import checkpoint as checkpoints
from semfed.checkpoint.manifest import CLIENTS, FOLDER, Checkpoint
from semfed.errors import CheckpointError, DataError, RunFolderError, ScenarioError, SemfedError
from semfed.events.callbacks import Callback
from semfed.flower import preflight
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.together import require_stackable
from semfed.flower.trial import Trial
from semfed.runs import folder as folders
from semfed.runs import given_callbacks, networks, notebook, origins, tracking, views
from semfed.runs.follower import Follower
from semfed.runs.frame import frame
from semfed.runs.history import History
from semfed.runs.kept import KeptTrials
from semfed.runs.link import Link
from semfed.runs.recorder import Recorder, write_summary
from semfed.runs.trials import TRIALS
from semfed.scenario import Scenario
from semfed.scenario.overrides import Overrides, load
from semfed.scenario.paths import as_path
from semfed.scenario.settings import suggest
from semfed.scenario.sweeps import Swept

if TYPE_CHECKING:
    import pandas

ENGINES = ("inprocess", "ray", "flower")
OPTIONS: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "workers": (("ray",), TypeAdapter(Annotated[int, Field(ge=1)]), "workers"),
    "ray_address": (("ray",), TypeAdapter(str), "address"),
    "gpus_per_worker": (("ray",), TypeAdapter(Annotated[float, Field(ge=0, allow_inf_nan=False)]), "gpus_per_worker"),
    "state_memory_mb": (
        ("inprocess", "ray"),
        TypeAdapter(Annotated[float, Field(ge=0, allow_inf_nan=False)]),
        "state_memory_mb",
    ),
    "cohort": (("inprocess",), TypeAdapter(Annotated[int, Field(ge=1)] | Literal["auto"]), "cohort"),
    "together": (("inprocess",), TypeAdapter(Annotated[int, Field(ge=1)]), "together"),
    "jobs": (("inprocess", "ray"), TypeAdapter(Annotated[int, Field(ge=1)]), "jobs"),
    "cache": (("inprocess", "ray"), TypeAdapter(str | Path), "cache"),
}
"""Options by the engines that have them, with what they may be, and what the engine calls them."""


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

    def link(self, arm: str | None = None, seed: int | None = None, client: str | int | None = None) -> Link:
        """Return a client's trained encoder, channel and decoder as a PyTorch module.

        Parameters
        ----------
        arm, seed : str and int, optional
            Of the trial; the scenario's first ones by default.
        client : str or int, optional
            By name or index; the first one by default.

        Raises
        ------
        SemfedError
            If there is no such trial or client, its networks were not kept or are damaged, or decide nothing.
        """
        scenario = self.scenario
        arm, seed = arm if arm is not None else scenario.arm_names[0], seed if seed is not None else scenario.seeds[0]
        complete, names = scenario.arm(arm), [one.name for one in scenario.arm(arm).clients]
        if seed not in scenario.seeds:
            raise ScenarioError(f"seed = {seed!r}: the run has {', '.join(map(str, scenario.seeds))}")
        index = names.index(client) if client in names else 0 if client is None else client
        if not isinstance(index, int) or not 0 <= index < len(names):
            raise ScenarioError(f"client = {client!r}: the run has no such client; {suggest(str(client), names)}")
        if not complete.keeps_models:
            why = "keep_models = 'none'" if complete.keep_models == "none" else "[privacy], and clients keep theirs"
            raise RunFolderError(f"run folder '{self.folder}' holds no networks: its scenario has {why}")
        weights, about = networks.read(networks.place(self.folder, arm, seed), index, names[index])
        return Link(Trial(complete, arm, seed), index, weights, about)

    def frame(self) -> "pandas.DataFrame":
        """Return the history as a table of pandas, one row a measured number; see `semfed.runs.frame.frame`."""
        return frame(self.folder)

    def __repr__(self) -> str:
        """Say where the run lies, what it compares, and which arm is the best."""
        return views.line(self.folder, self.summary)

    def _repr_html_(self) -> str:
        """Show the headline's table, and the figures that have been drawn, in Jupyter."""
        return views.page(self.folder)


def run(
    scenario: str | Path | Mapping[str, Any] | Scenario | None = None,
    *,
    engine: str = "inprocess",
    arms: str | Sequence[str] | None = None,
    seeds: int | str | Iterable[int] | None = None,
    overrides: Overrides = (),
    sweep: Swept | None = None,
    data_root: str | Path | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    callbacks: Sequence[Callback | str] = (),
    track: Sequence[str] = (),
    workers: int | None = None,
    ray_address: str | None = None,
    gpus_per_worker: float | None = None,
    state_memory_mb: float | None = None,
    cohort: int | str | None = None,
    together: int | None = None,
    jobs: int | None = None,
    cache: str | Path | None = None,
) -> Run:
    """Run a scenario and return what it left behind.

    Parameters
    ----------
    scenario : str, Path, mapping or Scenario, optional
        A built-in's name, a folder with ``scenario.toml``, a TOML file, or what would stand in one; not needed to
        resume.
    engine : {"inprocess", "ray", "flower"}
        This process, Ray actors that keep their clients, or Flower's own Ray simulation. The numbers are the same.
    arms : str or sequence of str, optional
        Which arms, all by default.
    seeds : int, str or iterable of int, optional
        Which seeds, such as ``"0-4"``; the scenario's by default.
    overrides : str, sequence of str, or mapping
        Other values of settings, such as ``"channel.snr_db=5"``; see `semfed.scenario.overrides.load`.
    sweep : str, sequence of str, or mapping, optional
        Settings that every arm runs with several values of; see `semfed.scenario.sweeps.parse`.
    data_root : str or Path, optional
        Where data sets are; the environment variable ``SEMFED_DATA`` by default.
    out : str or Path, optional
        The run folder; a new one below ``runs`` by default.
    resume : str or Path, optional
        A run folder to go on in, from its last checkpoint; the engine may be another one. Its scenario is the one
        that it holds: what is given of a scenario, arms, seeds, overrides or a sweep must come to the same.
    callbacks : sequence of Callback or str
        Told of everything, beside the recorder; a name is ``module:attribute``, see
        `semfed.runs.given_callbacks.resolve`.
    track : sequence of {"tensorboard", "wandb", "mlflow"}
        Where else metrics go while the run goes on; see `semfed.runs.tracking`.
    workers : int, optional
        Engine ``ray``: number of actors that clients are spread over; one a CPU by default.
    ray_address : str, optional
        Engine ``ray``: a cluster to join.
    gpus_per_worker : float, optional
        Engine ``ray``: share of a GPU for every actor; none by default.
    state_memory_mb : float, optional
        Engines ``inprocess`` and ``ray``: megabytes of client states in memory, 256 by default; the others lie on disk.
    cohort : int or "auto", optional
        Engine ``inprocess``: how many clients train side by side, with stacked weights, where their learner can;
        ``"auto"`` finds it out while they train. The numbers are then the same up to float rounding only. It pays on a
        GPU; on a CPU it hardly does.
    together : int, optional
        Engine ``inprocess``: how many seeds of an arm train side by side in this process, their clients stacked as with
        `cohort`, which is ``"auto"`` then unless it is given. The run folder is the same up to float rounding.
    jobs : int, optional
        How many trials, which are arms with a seed, run side by side; the run folder is the same. Engine ``inprocess``:
        in processes; unset, as many as there are cores, if the first round says that it pays, and that memory suffices.
        Engine ``ray``: in actors of one CPU each, anywhere on the cluster; unset, or 1, trials run one after the other,
        and their clients are what is spread.
    cache : str or Path, optional
        Engines ``inprocess`` and ``ray``: a folder that keeps trials by a hash of all that decides their numbers.
        Those that are there are not run again; see `semfed.runs.kept.KeptTrials`.

    Raises
    ------
    SemfedError
        One sentence about what is wrong, before any training where that is possible.
    """
    options = engine_options(
        engine,
        workers=workers,
        ray_address=ray_address,
        gpus_per_worker=gpus_per_worker,
        state_memory_mb=state_memory_mb,
        cohort=cohort,
        together=together,
        jobs=jobs,
        cache=cache,
    )
    jobs, kept, abreast = options.pop("jobs", None), options.pop("cache", None), options.pop("together", 1)
    stacking = {"cohort": options.get("cohort"), "together": abreast if abreast > 1 else None}
    again = {
        "engine": None if engine == "inprocess" else engine, "ray_address": ray_address, "data_root": data_root,
        "jobs": jobs, "cache": kept,
    }  # fmt: skip
    root = find_data_root(data_root)
    out, resume = (None if path is None else as_path(path, what) for what, path in (("out", out), ("resume", resume)))
    if resume is not None and out is not None and out.resolve() != resume.resolve():
        raise RunFolderError(f"a run goes on in its own folder, '{resume}': leave out = '{out}' out")
    if resume is not None and os.path.isfile(resume / folders.SCENARIO):
        origins.search_again(resume)
        what: dict[str, Any] = {"arms": arms, "seeds": seeds, "sweep": sweep}
        given = None if scenario is None else load(scenario, overrides, **what)  # first: it may bring plugins along
        resolved = load(resume / folders.SCENARIO)
        if (load(resolved, overrides, **what) if given is None else given) != resolved:
            raise CheckpointError(
                f"'{resume}' is a run of another scenario: leave scenario, arms, seeds, overrides and sweep out to "
                "resume it"
            )
    elif scenario is not None:
        resolved = load(scenario, overrides, arms=arms, seeds=seeds, sweep=sweep)
    else:
        raise RunFolderError(f"'{resume}' holds no {folders.SCENARIO}" if resume else "give a scenario, or --resume")
    told, trackers = given_callbacks.resolve(callbacks), tracking.find(track)
    if data_root is not None:
        _require_reader(resolved, data_root)
    opened = ProcessCache()
    for option, value in stacking.items():
        if value not in (None, 1):
            require_stackable(resolved, f"{option} = {value!r}")
    if abreast > 1 and len(resolved.seeds) == 1:
        raise ScenarioError(
            f"together = {abreast} has no effect: there is one seed; give more with seeds, or leave it out"
        )
    sizes = preflight.check(resolved, root, opened)
    store = None
    if kept is not None:
        place = as_path(kept, "cache").resolve()
        store = KeptTrials(place, resolved, root, opened, cohort=options.get("cohort", 1), together=abreast)
    target = resume or out or folders.default_folder(resolved.name, Path("runs"))
    folder = folders.create(target, resume=resume is not None)
    told += [tracker(folder) for tracker in trackers]
    if notebook.is_here():
        told += notebook.callbacks(folder, engine)
    checkpoint = (checkpoints.read(folder, resolved.digest) or Checkpoint(uuid4().hex)) if resume else None
    try:
        if engine == "flower":
            from semfed.engine.flower_simulation import simulate

            if checkpoint is not None:
                with folders.lock(folder):  # now: the lines that the run appends are followed from here
                    History(folder).cut(checkpoint)
            begin = {name: part.bytes for name, part in checkpoint.history.items()} if checkpoint is not None else {}
            simulate(
                resolved,
                folder,
                root,
                told,
                lambda told: Follower(folder, told, begin=begin).pass_on,
                resume=checkpoint,
            )
            shutil.rmtree(folder / TRIALS, ignore_errors=True)  # what another engine had underway
        else:
            from semfed.engine.local import local_grid
            from semfed.flower.server.run import run_trials
            from semfed.runs.grid import TrialGrid

            states, pool = folder / FOLDER / CLIENTS, None
            if engine == "ray" and (jobs or 1) > 1:
                from semfed.runs.cluster import RayPool

                where = {"address": options.pop("address", None), "gpus": options.pop("gpus_per_worker", 0.0)}
                pool = RayPool(folder, resolved, root, options, **where)
            here = "ray" if engine == "ray" and pool is None else "inprocess"
            side: dict[str, Any] = {"jobs": 1} if here == "ray" else {
                "jobs": jobs, "together": abreast, "options": options, "pool": pool,
            }  # fmt: skip
            with (
                TrialGrid(folder, resolved, root, opened, kept=store, **side) as trials,
                local_grid(here, sizes, root, states, cache=opened, **options) as grid,
            ):
                everybody = [Recorder(folder, engine=engine), trials, *told]
                run_trials(grid, resolved, everybody, resume=checkpoint, obtain=trials.obtain)
    except BaseException as error:
        if engine == "flower":
            with suppress(OSError, RunFolderError), folders.lock(folder):
                if (folder / folders.METRICS).exists() and not _summed_up(folder, error):
                    write_summary(folder, error)
        if not isinstance(error, SemfedError | KeyboardInterrupt):
            folders.note_error(folder, "the run ended", "".join(traceback.format_exception(error)))
        if (folder / folders.ERRORS).exists():
            error.add_note(f"tracebacks are in {shlex.quote(str(folder / folders.ERRORS))}")
        error.add_note(f"go on with: semfed run --resume {shlex.quote(str(folder))}{_same(**again, **stacking)}")
        raise
    return Run(folder, resolved, folders.read_json(folder / folders.SUMMARY))


def _summed_up(folder: Path, error: BaseException) -> bool:
    """Say whether Flower's server, which writes the folder, came to tell how the run ended, and of its own accord.

    A signal that ends this process ends the server and its workers with it, and the server may see theirs first: it
    takes for a crash of a worker what was an interruption.
    """
    path = folder / folders.SUMMARY
    return path.exists() and (not isinstance(error, KeyboardInterrupt) or bool(folders.read_json(path)["complete"]))


def engine_options(engine: str, **given: Any) -> dict[str, Any]:
    """Return the options that an engine is started with.

    Parameters
    ----------
    engine : str
    **given
        Options of `run`, by their names; None for those that were not given.

    Raises
    ------
    ScenarioError
        If there is no such engine, or an option is not one of its, out of range, or at odds with another one.
    """
    if engine not in ENGINES:
        raise ScenarioError(f"engine {engine!r} is unknown; {suggest(str(engine), ENGINES)}")
    options = {}
    for name, value in given.items():
        if value is None:
            continue
        engines, kind, keyword = OPTIONS[name]
        if engine not in engines:
            raise ScenarioError(
                f"{name} = {value!r} has no effect with engine {engine!r}: it is an option of {' and '.join(engines)}"
            )
        try:
            options[keyword] = kind.validate_python(value)
        except ValidationError as error:
            raise ScenarioError(f"{name} = {value!r}: {error.errors()[0]['msg']}") from error
    jobs, together = options.get("jobs", 1), options.get("together", 1)
    if together > 1 and jobs > 1:
        raise ScenarioError(
            f"together = {together} and jobs = {jobs}: seeds train side by side in one process, or in several; "
            "leave one of them out"
        )
    if together > 1 and options.get("cohort") == 1:
        raise ScenarioError(f"cohort = 1: together = {together} trains clients side by side; leave one of them out")
    if engine == "ray" and jobs > 1 and "workers" in options:
        raise ScenarioError(
            f"workers = {options['workers']} has no effect with jobs = {jobs}: a trial's clients share an actor then; "
            "leave one of both out"
        )
    return options


def _require_reader(scenario: Scenario, data_root: str | Path) -> None:
    """Refuse a data root where all data come from elsewhere; that of the environment may be there for other runs."""
    for complete in map(scenario.arm, scenario.arm_names):
        parts = [(complete.data.source, True), (getattr(complete.learner.settings, "latents", None), True)]
        for part, needs in [*parts, (complete.learner, False)]:
            if part is not None and getattr(part.load(), "needs_root", needs):
                return
    raise DataError(
        f"data_root = {str(data_root)!r} has no effect: data source {scenario.data.source.name!r} reads nothing from "
        "there; leave it out"
    )


def _same(**given: Any) -> str:
    """Return the options that a run goes on with and that its folder does not know."""
    return "".join(
        f" --{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in given.items() if value is not None
    )


def find_data_root(given: str | Path | None) -> Path | None:
    """Return the absolute data root: what is given, else ``SEMFED_DATA``, else None."""
    value = given or os.environ.get("SEMFED_DATA")
    return as_path(value, "data_root").resolve() if value else None
