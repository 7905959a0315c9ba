"""What can be checked before any training: strategies, data, tasks, partitions, devices, and that parts can be made."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch

from semfed.data import tasks
from semfed.data.dataset import Dataset
from semfed.errors import DataError, ScenarioError
from semfed.events.metrics import declared_in
from semfed.flower import rehearsal
from semfed.flower.client.cache import ProcessCache
from semfed.flower.server import fitting
from semfed.flower.trial import Trial
from semfed.models.base import require_width
from semfed.scenario import Scenario
from semfed.scenario.settings import suggest
from semfed.training import pick_device
from semfed.training.isolation import isolated
from semfed.training.judging import judges_of


def check_widths(scenario: Scenario) -> None:
    """Refuse encoders and decoders that ask for another width than the channel or their task decides.

    Raises
    ------
    ScenarioError
    """
    if not getattr(scenario.learner.load(), "sends_encoded", False):
        return
    for client in scenario.clients if not hasattr(scenario.learner.settings, "tasks") else ():  # else it decides others
        values = len(scenario.tasks[client.task].symbols)
        if not values:  # of a reconstruction: the image decides
            continue
        require_width(scenario.model.decoder, values, f"task {client.task!r} with {values} values")
    width = getattr(scenario.channel.settings, "width", None)
    for choice in (scenario.model.encoder, *(client.encoder for client in scenario.clients)):
        if choice is not None:
            require_width(choice, width, f"channel.uses = {getattr(scenario.channel.settings, 'uses', None)}")


def check_metrics(scenario: Scenario) -> None:
    """Refuse ``metrics`` that nobody would ask, or that cannot score the decisions of a task.

    Raises
    ------
    ScenarioError
    """
    if not scenario.metrics:
        return
    tell = getattr(scenario.learner.load(), "judged", None)
    judged = tell(scenario) if tell is not None else ()
    if not judged:
        raise ScenarioError(
            f"metrics: learner {scenario.learner.name!r} has no decisions that they could score, or does not say so by "
            "judged(); leave them out, or take another learner"
        )
    for task in judged:
        judges_of(scenario, task)


def _check_channels(scenario: Scenario, channels: int) -> None:
    for name in ("mean", "std"):
        values = getattr(scenario.data, name)
        if values is not None and len(values) not in (1, channels):
            raise DataError(f"data.{name} has {len(values)} values for images of {channels} channels; give one each")


def _check_outputs(scenario: Scenario, dataset: Dataset) -> None:
    """Refuse decoders of another width than images or real numbers decide, and numbers that the data set has not."""
    served = getattr(scenario.learner.load(), "task_kind", None)
    if served == "reconstruction":
        pixels = math.prod(dataset.shape)
        require_width(scenario.model.decoder, pixels, f"an image of {pixels} numbers")
    if served == "regression":
        require_width(scenario.model.decoder, 1, "one real number")
    for name, task in scenario.tasks.items():
        if task.kind == "regression" and task.target not in dataset.train.targets:
            known = suggest(task.target, dataset.train.targets)
            raise DataError(f"tasks.{name}.target = {task.target!r}: the data set has no such real numbers; {known}")


def _require_validation(
    trial: Trial, data_root: Path | None, cache: ProcessCache, maps: Mapping[str, torch.Tensor]
) -> None:
    """Insist that every client can be scored on its validation split, as it is on the test set."""
    labels = cache.dataset(trial, data_root, torch.device("cpu")).train.labels
    for k, client in enumerate(trial.scenario.clients):
        rows = torch.from_numpy(cache.validation_rows(trial, data_root, k))
        if client.task in maps and not len(tasks.values(labels[rows], maps[client.task])[0]):
            raise DataError(
                f"data.validation = {trial.scenario.data.validation:g}: none of the {len(rows)} images that client "
                f"{client.name!r} would be validated on has a value of its task {client.task!r}; raise it"
            )


@isolated()
def check(scenario: Scenario, data_root: Path | None, cache: ProcessCache | None = None) -> list[int]:
    """Refuse a scenario that would fail later, for every arm and seed.

    Parameters
    ----------
    scenario : Scenario
    data_root : Path or None
    cache : ProcessCache, optional
        Keeps the data for clients of the same process.

    Returns
    -------
    list of int
        Training images of every client, with the first seed.

    Raises
    ------
    DataError
        If data are missing, too few, or lack a class or value that a task names.
    ScenarioError
        If a GPU is asked for where there is none, arms declare a metric in two ways, or a part cannot be made or does
        not fit; see `semfed.flower.server.fitting` and `semfed.flower.rehearsal`.
    CheckpointError
        If a strategy does not say what it keeps between rounds.
    """
    cache = cache or ProcessCache()
    cpu = torch.device("cpu")
    seen = set()
    sizes: list[int] = []
    own_data = {arm.name for arm in scenario.arms if "data" in arm.changes}
    for arm in scenario.arm_names:
        complete, where = scenario.arm(arm), f"arms.{arm}." if scenario.arms else ""
        data_where = where if arm in own_data else ""
        fitting.check(complete)
        pick_device(complete.training.device)
        check_widths(complete)
        check_metrics(complete)
        demanding = bool(getattr(complete.learner.load(), "requires_every_value", False))
        if complete.data.validation is not None and not getattr(complete.learner.load(), "validates", False):
            raise ScenarioError(
                f"data.validation = {complete.data.validation:g}: learner {complete.learner.name!r} is tested on the "
                "test set alone; leave it out"
            )
        for name, task in complete.tasks.items():
            if task.missing == "allow" and not demanding:
                raise ScenarioError(
                    f"tasks.{name}.missing = 'allow': learner {complete.learner.name!r} never refuses a missing value; "
                    "leave it out"
                )
        for seed in scenario.seeds:
            trial = Trial(complete, arm, seed)
            facts = (trial.data_key, seed, str(complete.tasks), str(complete.clients), demanding)
            if facts in seen:
                continue
            seen.add(facts)
            with rehearsal.naming(data_where, "data.source", complete.data.source):
                dataset = cache.dataset(trial, data_root, cpu)
            deciding = {name: task for name, task in complete.tasks.items() if task.kind == "classification"}
            maps = {name: tasks.label_map(task, name, dataset.classes) for name, task in deciding.items()}
            with rehearsal.naming(data_where, "data.partition", complete.data.partition):
                held = [torch.from_numpy(cache.rows(trial, data_root, k)) for k in range(len(complete.clients))]
            sizes = sizes or [len(rows) for rows in held]
            _check_channels(complete, dataset.shape[0])
            _check_outputs(complete, dataset)
            for name, mapping in maps.items():
                own = [rows for client, rows in zip(complete.clients, held, strict=True) if client.task == name]
                if own:
                    tasks.require_choice(dataset.train.labels[torch.cat(own)], mapping, name, "its clients' training")
                    tasks.require_choice(dataset.test.labels, mapping, name, "the test")
            if complete.data.validation is not None:
                _require_validation(trial, data_root, cache, maps)
            for client, rows in zip(complete.clients, held, strict=True):
                if demanding and client.task in maps:
                    labels = tasks.values(dataset.train.labels[rows], maps[client.task])[1]
                    tasks.require_every_value(labels, complete.tasks[client.task], client.task, client.name)
        rehearsal.rehearse(Trial(complete, arm, scenario.seeds[0]), where, data_root, cache)
    declared_in(*map(scenario.arm, scenario.arm_names))
    return sizes
