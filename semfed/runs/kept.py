"""A folder of trials by the hash of everything that decides their numbers, so that none has to be trained twice."""

import hashlib
import importlib.util
import itertools
import json
import logging
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from semfed.checkpoint import files
from semfed.errors import RunFolderError
from semfed.events import strict_json
from semfed.flower.client.cache import ProcessCache
from semfed.flower.trial import Trial
from semfed.runs import folder as folders
from semfed.runs import networks
from semfed.runs.history import told_clearly
from semfed.scenario import Scenario
from semfed.scenario.plugins import Plugin
from semfed.scenario.settings import tables
from semfed.training import pick_device

SUMS = "sha256.json"
COMPUTE = ("flwr", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow")
"""Packages whose version may change a number; of what has no version that says so, the code itself counts."""


class KeptTrials:
    """Trials of earlier runs: finds those that this run needs, and keeps this run's.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    scenario : Scenario
        Of the run.
    data_root : Path or None
    cache : ProcessCache
        Opens data for their identity.
    cohort : int or str
        Clients that train side by side, which rounds in another way.
    together : int
        Trials that do.

    Raises
    ------
    RunFolderError
        If the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        scenario: Scenario,
        data_root: Path | None,
        cache: ProcessCache,
        *,
        cohort: int | str = 1,
        together: int = 1,
    ) -> None:
        self.folder, self._stacked = folder, [cohort, together]
        self._scenario, self._root, self._cache = scenario, data_root, cache
        self._facts: dict[str, str] = {}
        self._data: dict[str, str] = {}
        self._digests: dict[Path, str] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"cache '{folder}' cannot be made ({error.strerror}): give another one") from error

    def key(self, arm: str, seed: int) -> str:
        """Return the SHA-256 of what decides a trial's numbers.

        That is the trial as its clients are told it, the code, the versions of packages, the kind of device, and the
        data.
        """
        trial = Trial(self._scenario.arm(arm), arm, seed)
        if arm not in self._facts:
            scenario = trial.scenario
            facts = {
                "code": [self._digest(path) for path in sorted(_sources(scenario))],
                "packages": {package: _version(package) for package in COMPUTE},
                "python": platform.python_version(),
                "stacked": self._stacked,
                "device": _device(scenario.training.device),
                "data": self._identity(trial),
            }
            self._facts[arm] = json.dumps(facts, sort_keys=True)
        return files.digest(f"{trial.digest} {self._facts[arm]}".encode())

    def has(self, arm: str, seed: int) -> bool:
        """Whether a trial is kept; its files have not been looked at."""
        return (self.folder / self.key(arm, seed)).is_dir()

    def find(self, trial: Trial) -> Path | None:
        """Return the folder of a trial that is kept and sound; a damaged one is removed, with a word."""
        entry = self.folder / self.key(trial.arm, trial.seed)
        if not entry.is_dir():
            return None
        try:
            sums = strict_json.loads((entry / SUMS).read_text(encoding="utf-8"))
            sound = all(files.digest((entry / name).read_bytes()) == digest for name, digest in sums.items())
        except (OSError, ValueError):
            sound = False
        if sound:
            return entry
        logging.getLogger(__name__).warning("'%s' is damaged: the trial is run again", entry)
        shutil.rmtree(entry, ignore_errors=True)
        return None

    def keep(self, run: Path) -> None:
        """Keep the trials of a complete run, whose histories stand in its files one after the other.

        One in which a client failed is not kept: what it lacks may have been an accident.
        """
        split = [_by_trial(run / name) for name in folders.HISTORY]
        for parts in zip(*split, strict=True):
            arm, seed = parts[0][0]
            if any(part[0] != (arm, seed) for part in parts):
                raise RunFolderError(f"'{run}' is damaged: its files tell of different trials; repeat the run")
            entry = self.folder / self.key(arm, seed)
            if entry.is_dir() or any('"note": ' in line for line in parts[0][1]):
                continue
            with told_clearly(self.folder), tempfile.TemporaryDirectory(dir=self.folder, prefix=".") as scratch:
                made = Path(scratch) / "trial"
                made.mkdir()
                for name, (_, lines) in zip(folders.HISTORY, parts, strict=True):
                    (made / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
                for kind in folders.ARRAYS:
                    path = folders.arrays(run, kind, arm, seed)
                    if path.is_file():
                        (made / kind).mkdir()
                        shutil.copyfile(path, folders.arrays(made, kind, arm, seed))
                models = networks.place(run, arm, seed)
                if models.is_dir():
                    shutil.copytree(models, networks.place(made, arm, seed))
                sums = {str(path.relative_to(made)): files.digest(path.read_bytes()) for path in _files(made)}
                folders.write_atomically(made / SUMS, json.dumps(sums))
                try:
                    made.rename(entry)
                except OSError:
                    if not entry.is_dir():  # else another run has been faster
                        raise

    def _identity(self, trial: Trial) -> str:
        """Return the SHA-256 of a trial's images and all that belongs to them, and of files that its settings name."""
        if trial.data_key not in self._data:
            dataset = self._cache.dataset(trial, self._root, torch.device("cpu"))
            digest = hashlib.sha256(repr((dataset.classes, dataset.mean, dataset.std)).encode())
            for part in (dataset.train, dataset.test):
                for name, tensor in {"images": part.images, "labels": part.labels, **part.targets}.items():
                    digest.update(repr((name, tensor.shape, tensor.dtype)).encode())
                    digest.update(tensor.contiguous().numpy().data)
            for name, marks in dataset.attributes.items():
                digest.update(repr((name, marks.shape, marks.dtype.str)).encode())
                digest.update(marks.tobytes())
            self._data[trial.data_key] = digest.hexdigest()
        named = {os.path.join(self._root or "", text) for text in _texts(trial.scenario.tree())}
        further = sorted(Path(path) for path in named if os.path.isfile(path))
        return " ".join([self._data[trial.data_key], *map(self._digest, further)])

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = files.digest(path.read_bytes())
        return self._digests[path]


def _by_trial(path: Path) -> Iterator[tuple[tuple[str, int], list[str]]]:
    """Yield the lines of a history, trial by trial."""

    def trial(line: str) -> tuple[str, int]:
        told = strict_json.loads(line)
        return str(told["arm"]), int(told["seed"])

    for one, lines in itertools.groupby(folders.each_line(path), key=trial):
        yield one, list(lines)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sources(scenario: Scenario) -> set[Path]:
    """Return the source files of this package, and of those that the parts of a scenario come from."""
    roots = {"semfed", "semfed.clients", "semfed.strategies"}
    for _, table in tables(scenario):
        for name in type(table).model_fields:
            held = getattr(table, name)
            for part in held if isinstance(held, tuple) else (held,):
                if isinstance(part, Plugin):
                    roots.add(part.load().__module__.partition(".")[0])
    found = set()
    for root in roots - set(COMPUTE):
        spec = importlib.util.find_spec(root) if root != "__main__" else None
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            found |= set(Path(folder).rglob("*.py"))
        origin = getattr(sys.modules.get(root), "__file__", None)
        if origin is not None:
            found.add(Path(origin))
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _device(asked: str) -> str:
    device = pick_device(asked)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {platform.machine()}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and "\0" not in value:
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(item)
