"""The callback that writes the run folder."""

import os
import platform
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors.numpy import save

from semfed import checkpoint as checkpoints
from semfed.checkpoint import Checkpoint, files
from semfed.events import strict_json
from semfed.events.callbacks import Callback, Outcome, TrainedNetworks, array_digest
from semfed.events.records import Record
from semfed.events.spans import span
from semfed.runs import folder as folders
from semfed.runs import origins
from semfed.runs.history import History, told_clearly
from semfed.runs.networks import NetworksWriter, place
from semfed.runs.summary import of_folder
from semfed.scenario import Scenario

SECRET = re.compile(r"--?[\w-]*(token|secret|password|credential)[\w-]*", re.IGNORECASE)
"""Options whose value is nobody's business, such as the token by which Flower's process of a run commands nodes."""
PACKAGES = ("semfed", "flwr", "ray", "torch", "torchvision", "numpy", "scikit-learn", "pydantic")


class Recorder(Callback):
    """Writes everything as soon as it is known; a run that ends early keeps what it measured.

    Parameters
    ----------
    folder : Path
        Created when the run starts; it must not hold anything yet, unless the run goes on in it.
    engine : str
        Name of the engine, for ``environment.json``.

    Raises
    ------
    RunFolderError
        From any method, if the folder cannot be written or another process writes it.
    """

    def __init__(self, folder: Path, *, engine: str) -> None:
        self.folder = folder
        self.engine = engine
        self._scenario: Scenario | None = None
        self._digest = ""
        self._resume: Checkpoint | None = None
        self._history = History(folder)
        self._networks: NetworksWriter | None = None
        self._lock: IO[str] | None = None

    def on_resume(self, checkpoint: Checkpoint) -> None:
        """Go on in a folder that exists."""
        self._resume = checkpoint

    def on_run_start(self, scenario: Scenario) -> None:
        """Create the folder, or cut its history off where it goes on; write scenario, environment and declarations."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = folders.lock(self.folder)
        folders.create(self.folder, resume=self._resume is not None)
        (self.folder / folders.SUMMARY).unlink(missing_ok=True)
        path = self.folder / folders.ENVIRONMENT
        self._digest = scenario.digest
        described = {**environment(self.engine, self._digest), origins.KEY: origins.plugin_folders(scenario)}
        if self._resume is not None:
            files.remove_scratch(self.folder)
            self._history.cut(self._resume)
            if path.is_file():
                first = folders.read_json(path)
                again = {name: described[name] for name in ("started", "engine", "command", "packages")}
                described = {**first, "resumed": [*first.get("resumed", []), again]}
        folders.write_atomically(self.folder / folders.SCENARIO, scenario.to_toml())
        folders.describe(self.folder, scenario)
        folders.write_atomically(path, strict_json.dumps(described, indent=2) + "\n", private=True)
        self._history.append(folders.METRICS, [])
        self._scenario = scenario  # from here on there is something to summarise

    @span("records")
    def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
        """Append the round's records, then its time: who sees the time sees all records."""
        self._history.append(folders.METRICS, [record.to_json() for record in records])
        timing = {"arm": arm, "seed": seed, "round": round_, "seconds": round(seconds, 6)}
        self._history.append(folders.TIMING, [strict_json.dumps(timing)])

    def on_client_error(self, arm: str, seed: int, round_: int, client: str, phase: str, text: str) -> None:
        """Keep the traceback."""
        folders.note_error(self.folder, f"{arm}, seed {seed}, round {round_}: {client} in {phase!r}", text)

    @span("checkpoint")
    def on_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Make it what the run goes on from."""
        complete = replace(checkpoint, history=self._history.extents())
        with told_clearly(self.folder):
            checkpoints.write(self.folder, complete, self._digest)

    def on_networks(self, arm: str, seed: int, networks: TrainedNetworks) -> None:
        """Keep the networks of a client."""
        with told_clearly(self.folder):
            if self._networks is None or self._networks.complete:
                clients = len(self._scenario.arm(arm).clients) if self._scenario is not None else 0
                self._networks = NetworksWriter(place(self.folder, arm, seed), clients)
            self._networks.add(networks)

    def on_arm_end(self, arm: str, seed: int, outcome: Outcome) -> None:
        """Keep the final arrays and what the strategy found out."""
        arrays = {name: np.ascontiguousarray(array) for name, array in outcome.arrays.items()}
        samples = {name: np.ascontiguousarray(array) for name, array in outcome.samples.items()}
        with told_clearly(self.folder):
            for kind, kept in zip(folders.ARRAYS, (arrays, samples), strict=True):
                if kept:
                    (self.folder / kind).mkdir(exist_ok=True)
                    files.write(folders.arrays(self.folder, kind, arm, seed), save(kept))
        line = {
            "arm": arm,
            "seed": seed,
            "details": outcome.details,
            "baselines": outcome.baselines,
            "parameters_sha256": array_digest(arrays),
            **({} if outcome.best_round is None else {"best_round": outcome.best_round}),
        }
        self._history.append(folders.OUTCOMES, [strict_json.dumps(line)])

    def on_run_end(self, error: BaseException | None) -> None:
        """Write the summary of what there is, and let other processes have the folder."""
        try:
            if self._scenario is not None:
                with suppress(OSError) if error is not None else told_clearly(self.folder):
                    write_summary(self.folder, error)
        finally:
            if self._lock is not None:
                self._lock.close()


def write_summary(folder: Path, error: BaseException | None) -> None:
    """Write ``summary.json`` of what a run folder holds; `error` is what ended the run early."""
    summary = of_folder(folder, None if error is None else (str(error) or type(error).__name__))
    folders.write_atomically(folder / folders.SUMMARY, strict_json.dumps(summary, indent=2) + "\n")


def without_secrets(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command with ``***`` in the place of tokens and the like."""
    shown, hide = list[str](), False
    for word in arguments:
        option, equals, _ = word.partition("=")
        secret = SECRET.fullmatch(option) is not None
        shown.append("***" if hide else f"{option}=***" if secret and equals else word)
        hide = secret and not equals
    return shown


def environment(engine: str, digest: str) -> dict[str, Any]:
    """Describe where and with what a run is made."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "engine": engine,
        "command": " ".join([Path(sys.argv[0]).name, *without_secrets(sys.argv[1:])]),
        "scenario_sha256": digest,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": gpus,
        "packages": versions,
    }
