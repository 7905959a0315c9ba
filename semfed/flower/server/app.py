"""The ``ServerApp``: it reads the run config and runs the scenario.

Run config (all optional): ``scenario`` (a file of the app's folder, or a built-in's name), ``arms``, ``seeds``, ``set``
(overrides, separated by semicolons), ``data-root``, ``out`` (the run folder; a new one below ``SEMFED_RUNS`` or
``~/semfed-runs`` by default), ``callbacks``, ``resume`` (true to go on in ``out``), ``state-dir`` (where simulated
nodes keep states). Any other key is an override of its own: ``--run-config "rounds=2 channel.snr_db=5"``.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from semfed import checkpoint
from semfed.checkpoint import Checkpoint
from semfed.errors import DataError, RunFolderError
from semfed.events.callbacks import Callback
from semfed.flower import preflight
from semfed.flower.compat import ask_soon_again, is_superlinks
from semfed.flower.server.in_step import InStepGrid
from semfed.flower.server.reliable_grid import ReliableGrid
from semfed.flower.server.run import run_trials
from semfed.scenario import Scenario, plugins
from semfed.scenario.overrides import load, parse_seeds
from semfed.scenario.paths import as_path

OWN_KEYS = frozenset({"scenario", "arms", "seeds", "set", "data-root", "out", "callbacks", "resume", "state-dir"})

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the scenario of the run config."""
    config = context.run_config
    scenario = read_run_config(config)
    given = config.get("data-root") or os.environ.get("SEMFED_DATA")
    try:
        preflight.check(scenario, as_path(str(given)) if given else None)
    except DataError:
        if given:  # without a data root the data may still be where the clients are, and they check them too
            raise
    folder = _run_folder(config, f"{scenario.name}-{context.run_id}")
    resume = checkpoint.read(folder, scenario.digest) or Checkpoint(uuid4().hex) if config.get("resume") else None
    if is_superlinks(grid):
        ask_soon_again(grid)
        grid = ReliableGrid(InStepGrid(grid))
    run_trials(grid, scenario, _callbacks(config, folder), resume=resume)


def read_run_config(config: Mapping[str, Any]) -> Scenario:
    """Return the scenario that a run config asks for.

    Raises
    ------
    ScenarioError
        If it asks for something that is not there.
    """
    keys = [f"{key}={_toml(value)}" for key, value in config.items() if key not in OWN_KEYS]
    overrides = [part.strip() for part in str(config.get("set", "")).split(";") if part.strip()]
    arms = [arm.strip() for arm in str(config.get("arms", "")).split(",") if arm.strip()]
    seeds = str(config.get("seeds", "")).strip()
    around = load(_find(str(config.get("scenario", "scenario.toml"))), keys)  # an app's own config, as a rule
    return load(
        around,
        overrides,
        arms=arms or None,
        seeds=parse_seeds(seeds) if seeds else None,
    )


def _find(name: str) -> str:
    """Look for a scenario file in the app's folder, which Flower puts on the path of imports."""
    for folder in sys.path:
        candidate = Path(folder) / name
        if name.endswith(".toml") and candidate.is_file():
            return str(candidate)
    return name


def _run_folder(config: Mapping[str, Any], name: str) -> Path:
    """Return where the run goes: ``out``, or a folder of that name below ``SEMFED_RUNS`` or the user's home."""
    try:
        parent = os.environ.get("SEMFED_RUNS") or Path.home() / "semfed-runs"
        return as_path(str(config.get("out") or Path(parent) / name))
    except RuntimeError as error:
        raise RunFolderError("there is no home folder for run folders: set SEMFED_RUNS or give out") from error


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _callbacks(config: Mapping[str, Any], folder: Path) -> list[Callback]:
    """Make the callbacks: by default the run folder and a report in the log."""
    names = str(config.get("callbacks") or "run-folder,report").split(",")
    return [plugins.load("callbacks", name.strip())(folder, engine="flower") for name in names]
