"""The callback that writes the run folder."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from semfed.callbacks import Callback, Outcome, array_digest
from semfed.experiment import folder as folders
from semfed.experiment.summary import summarise
from semfed.records import Record
from semfed.scenario import Scenario

PACKAGES = ("semfed", "flwr", "ray", "torch", "torchvision", "numpy", "scikit-learn", "pydantic")


class Recorder(Callback):
    """Writes everything as soon as it is known; a run that ends early keeps what it measured.

    Parameters
    ----------
    folder : Path
        Created when the run starts; it must not hold anything yet.
    engine : str
        Name of the engine, for ``environment.json``.
    """

    def __init__(self, folder: Path, *, engine: str) -> None:
        self.folder = folder
        self.engine = engine
        self._scenario: Scenario | None = None

    def on_run_start(self, scenario: Scenario) -> None:
        """Create the folder; write scenario and environment."""
        folders.create(self.folder)
        self._scenario = scenario
        folders.write_atomically(self.folder / folders.SCENARIO, scenario.to_toml())
        described = environment(self.engine, scenario.digest)
        folders.write_atomically(self.folder / folders.ENVIRONMENT, json.dumps(described, indent=2) + "\n")
        folders.append(self.folder / folders.METRICS, [])

    def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
        """Append the round's records, then its time: who sees the time sees all records."""
        folders.append(self.folder / folders.METRICS, [record.to_json() for record in records])
        timing = {"arm": arm, "seed": seed, "round": round_, "seconds": round(seconds, 6)}
        folders.append(self.folder / folders.TIMING, [json.dumps(timing)])

    def on_arm_end(self, arm: str, seed: int, outcome: Outcome) -> None:
        """Keep the final arrays and what the strategy found out."""
        arrays = {name: np.ascontiguousarray(array) for name, array in outcome.arrays.items()}
        samples = {name: np.ascontiguousarray(array) for name, array in outcome.samples.items()}
        for kind, kept in (("parameters", arrays), ("samples", samples)):
            if kept:
                (self.folder / kind).mkdir(exist_ok=True)
                save_file(kept, self.folder / kind / f"{arm}-seed{seed}.safetensors")
        line = {
            "arm": arm,
            "seed": seed,
            "details": outcome.details,
            "baselines": outcome.baselines,
            "parameters_sha256": array_digest(arrays),
        }
        folders.append(self.folder / folders.OUTCOMES, [json.dumps(line)])

    def on_run_end(self, error: BaseException | None) -> None:
        """Write the summary of what there is."""
        if self._scenario is None:
            return
        outcomes = [json.loads(line) for line in folders.read_lines(self.folder / folders.OUTCOMES)]
        records = folders.read_records(self.folder)
        reason = None if error is None else (str(error) or type(error).__name__)
        summary = summarise(self._scenario.name, self._scenario.arm_names, records, outcomes, error=reason)
        folders.write_atomically(self.folder / folders.SUMMARY, json.dumps(summary, indent=2) + "\n")


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
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "scenario_sha256": digest,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": gpus,
        "packages": versions,
    }
