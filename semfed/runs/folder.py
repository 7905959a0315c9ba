"""The run folder: what a run leaves behind, and the only thing that reports and figures are made from.

::

    scenario.toml     the resolved scenario          summary.json   figures of merit over seeds
    environment.json  versions, machine, command     parameters/    final shared arrays, one safetensors a seed
    metrics.json      declarations of the metrics    samples/       what clients showed of their last test
    metrics.jsonl     one record a line              models/        trained networks, see `semfed.runs.networks`
    labels.json       what swept settings are called plots/         PNG and PDF
    defaults.json     of parts that an arm alone has
    outcomes.jsonl    clusters and the like          checkpoint/    what `--resume` goes on from
    timing.jsonl      seconds per round              errors.log     tracebacks, if code of somebody's raised

While trials run side by side, those that are not told yet are below ``trials/``, each as a run folder of its own.
"""

import fcntl
import itertools
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from semfed.checkpoint import files
from semfed.errors import RunFolderError
from semfed.events import strict_json
from semfed.events.metrics import Metrics, declared_in
from semfed.events.records import Record
from semfed.runs.arm_settings import unsaid
from semfed.scenario import Scenario, read, validate
from semfed.scenario.labels import labels

SCENARIO, ENVIRONMENT, METRICS = "scenario.toml", "environment.json", "metrics.jsonl"
OUTCOMES, TIMING, SUMMARY = "outcomes.jsonl", "timing.jsonl", "summary.json"
HISTORY = (METRICS, TIMING, OUTCOMES)
ARRAYS = ("parameters", "samples")
DECLARED, LABELS, DEFAULTS = "metrics.json", "labels.json", "defaults.json"
LOCK = ".lock"
ERRORS = "errors.log"


def default_folder(scenario: str, parent: Path) -> Path:
    """Make a new folder below `parent` for a run that starts now; no two runs get the same one.

    Raises
    ------
    RunFolderError
        If it cannot be made.
    """
    stamp = f"{scenario}-{datetime.now():%Y%m%d-%H%M%S}"
    for attempt in itertools.count(1):
        folder = parent / (stamp if attempt == 1 else f"{stamp}-{attempt}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RunFolderError(f"run folder '{folder}' cannot be made ({error}): give another --out") from error
        return folder
    raise AssertionError("there is always a next number")


def create(folder: Path, *, resume: bool = False) -> Path:
    """Make an empty run folder, or find one to go on in.

    Raises
    ------
    RunFolderError
        If it exists and is not empty, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not resume and any(path.name != LOCK for path in folder.iterdir()):
            raise RunFolderError(f"run folder '{folder}' is not empty: give another --out, or go on with --resume")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunFolderError(f"run folder '{folder}' cannot be written ({error}): give another --out") from error
    return folder.resolve()


def lock(folder: Path) -> IO[str]:
    """Make this process the only one that writes a run folder, until the returned file is closed or the process ends.

    Raises
    ------
    RunFolderError
        If another process writes it.
    """
    try:
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"run folder '{folder}' cannot be written ({error}): give another --out") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise RunFolderError(
            f"run folder '{folder}' is being written by process {owner}: wait for it, or give another --out"
        ) from error
    except OSError as error:
        logging.getLogger(__name__).warning(
            "run folder '%s' lies on a file system without locks (%s): see to it that no other run writes it",
            folder,
            error.strerror,
        )
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def arrays(folder: Path, kind: str, arm: str, seed: int) -> Path:
    """Return the file of a trial's final arrays of a kind, one of `ARRAYS`."""
    return folder / kind / f"{arm}-seed{seed}.safetensors"


def note_error(folder: Path, heading: str, text: str) -> None:
    """Append a traceback to ``errors.log``; where that cannot be written, there is worse to be told."""
    with suppress(OSError), (folder / ERRORS).open("a", encoding="utf-8") as file:
        file.write(f"--- {heading}\n{text.strip()}\n\n")


def write_atomically(path: Path, text: str, *, private: bool = False) -> None:
    """Write a file so that a reader, or a crash, sees the old or the new content, never a part."""
    files.write(path, text.encode(), private=private)


def each_line(path: Path) -> Iterator[str]:
    """Give the complete lines of a file, none if it does not exist; a line still being written is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield line.removesuffix("\n")


def each_record(folder: Path) -> Iterator[Record]:
    """Give the records of a run one after the other: a long run with many clients has millions.

    Raises
    ------
    RunFolderError
        If the folder holds no history, or a damaged one.
    """
    path = folder / METRICS
    if not path.is_file():
        raise RunFolderError(f"'{folder}' is not a run folder: it has no {METRICS}")
    try:
        for line in each_line(path):
            yield Record.from_json(line)
    except (ValueError, TypeError) as error:
        raise RunFolderError(f"'{path}' is damaged: {error}") from error


def read_records(folder: Path) -> list[Record]:
    """Return the history of a run; see `each_record`."""
    return list(each_record(folder))


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object of a run folder.

    Raises
    ------
    RunFolderError
        If it is missing or damaged.
    """
    try:
        content: dict[str, Any] = strict_json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"'{path}' cannot be read ({error}): is it a run folder?") from error
    return content


def declarations(scenario: Scenario) -> Metrics:
    """Return what the arms of a scenario declare."""
    return declared_in(*map(scenario.arm, scenario.arm_names))


def describe(folder: Path, scenario: Scenario) -> None:
    """Write what the history is read with: declarations of the metrics, labels of swept settings, defaults of arms."""
    tables = {DECLARED: declarations(scenario).to_table(), LABELS: labels(scenario), DEFAULTS: unsaid(scenario)}
    for name, table in tables.items():
        if table:
            write_atomically(folder / name, strict_json.dumps(table, indent=2) + "\n")


def read_metrics(folder: Path) -> Metrics:
    """Return the declarations of a run; one that was made before runs kept them has those of its plugins today.

    Raises
    ------
    RunFolderError
        If the file is damaged, or of a newer version.
    """
    path = folder / DECLARED
    if not path.is_file():
        return declarations(validate(read(folder / SCENARIO)))
    try:
        return Metrics.from_table(read_json(path))
    except (ValueError, TypeError, AttributeError) as error:
        raise RunFolderError(f"'{path}' holds no declarations of metrics that this version knows: {error}") from error


def read_labels(folder: Path) -> dict[str, str]:
    """Return what the swept settings of a run are called, by their paths; nothing if it has not kept that.

    Raises
    ------
    RunFolderError
        If the file is damaged.
    """
    return _read_table(folder / LABELS, str, "a label is no text")


def read_defaults(folder: Path) -> dict[str, dict[str, Any]]:
    """Return, by arm, the defaults of parts that the arm alone has; nothing if the run has not kept that.

    Raises
    ------
    RunFolderError
        If the file is damaged.
    """
    return _read_table(folder / DEFAULTS, dict, "an arm's defaults are no table")


def _read_table(path: Path, kind: type, problem: str) -> dict[str, Any]:
    found = read_json(path) if path.is_file() else {}
    if not all(isinstance(value, kind) for value in found.values()):
        raise RunFolderError(f"'{path}' is damaged: {problem}")
    return found
