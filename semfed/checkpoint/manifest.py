"""A point from which a run can go on: what the server knows after a round, and what the clients' nodes keep of them.

::

    checkpoint/
      checkpoint.json                where the run is, hashes of all that belongs to it, how much of the history counts
      <arm>-seed0-round7.safetensors the strategy's memory and the shared arrays
      clients/                       the clients' states, where nodes run on the server's machine

A client's private state is written by its own node and never travels: the server knows its hash only.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semfed.checkpoint import files
from semfed.checkpoint.files import Tables
from semfed.errors import CheckpointError
from semfed.scenario import Scenario

FOLDER, MANIFEST, CLIENTS = "checkpoint", "checkpoint.json", "clients"


@dataclass(frozen=True)
class StateRef:
    """What a node keeps of a client: after which round it was written, and its SHA-256."""

    round: int
    sha256: str


@dataclass(frozen=True)
class Extent:
    """How many bytes of a file of the history count, and their SHA-256."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on with the same numbers.

    Attributes
    ----------
    run : str
        Identifies the run at the nodes; 32 hexadecimal digits.
    arm : str or None
        None before anything has been done.
    seed : int
    round : int or None
        The last round that is done; None once the arm is finished with this seed.
    aggregated : bool
        Whether ``tables["arrays"]`` came from a strategy; otherwise they are what the clients started from.
    tables : mapping of str to mapping of str to ndarray
        ``arrays`` (shared), ``strategy`` (what it remembers), ``samples/<client>`` and, with a validation split,
        ``validation`` (which round was the best so far).
    marks : mapping of int to StateRef
        What nodes keep, by client; clients without private state are left out.
    trial : str
        Digest of arm and seed; see `client_file`.
    history : mapping of str to Extent
        How much of the run folder's files counts.
    """

    run: str
    arm: str | None = None
    seed: int = 0
    round: int | None = None
    aggregated: bool = False
    tables: Tables = field(default_factory=dict)
    marks: Mapping[int, StateRef] = field(default_factory=dict)
    trial: str = ""
    history: Mapping[str, Extent] = field(default_factory=dict)

    def remaining(self, scenario: Scenario) -> list[tuple[int, str]]:
        """Return what is still to be run, (seed, arm) each in the order of the run; the first may be underway."""
        pairs = [(seed, arm) for seed in scenario.seeds for arm in scenario.arm_names]
        if self.arm is None:
            return pairs
        index = pairs.index((self.seed, self.arm))
        return pairs[index + 1 :] if self.round is None else pairs[index:]

    def rounds_done(self, scenario: Scenario) -> int:
        """Return how many rounds of all arms and seeds are behind it, if all have as many."""
        arms = len(scenario.seeds) * len(scenario.arm_names) - len(self.remaining(scenario))
        return arms * scenario.rounds + (self.round or 0)


def client_file(state_dir: Path, run: str, trial: str, client: int, round_: int) -> Path:
    """Return where a node keeps a client's state of a round."""
    return state_dir / run / trial[:16] / f"client-{client}" / f"round-{round_}.safetensors"


def write(folder: Path, checkpoint: Checkpoint, scenario_sha256: str) -> None:
    """Make a checkpoint the one that a run folder goes on from; the last one is good until this one is complete.

    Parameters
    ----------
    folder : Path
        The run folder.
    checkpoint : Checkpoint
    scenario_sha256 : str

    Raises
    ------
    OSError
        If it cannot be written.
    """
    own = folder / FOLDER
    own.mkdir(exist_ok=True)
    content: dict[str, Any] = {
        "schema": files.SCHEMA,
        "scenario_sha256": scenario_sha256,
        "run": checkpoint.run,
        "arm": checkpoint.arm,
        "seed": checkpoint.seed,
        "round": checkpoint.round,
        "aggregated": checkpoint.aggregated,
        "trial": checkpoint.trial,
        "clients": {str(client): vars(mark) for client, mark in checkpoint.marks.items()},
        "history": {name: vars(extent) for name, extent in checkpoint.history.items()},
    }
    written = [folder / name for name in checkpoint.history]
    if checkpoint.round is not None:
        data = files.dump(checkpoint.tables)
        content["file"] = f"{checkpoint.arm}-seed{checkpoint.seed}-round{checkpoint.round}.safetensors"
        content["sha256"] = files.digest(data)
        files.write(own / content["file"], data, sync=False)
        written.append(own / content["file"])
        written += [
            client_file(own / CLIENTS, checkpoint.run, checkpoint.trial, client, mark.round)
            for client, mark in checkpoint.marks.items()
        ]
    files.sync_all([path for path in written if path.exists()])
    text = json.dumps(content, sort_keys=True)
    sealed = {"sha256": files.digest(text.encode()), "content": content}
    files.write(own / MANIFEST, (json.dumps(sealed, indent=1) + "\n").encode())
    for path in own.glob("*.safetensors"):
        if path.name != content.get("file"):
            path.unlink()
    if checkpoint.round is None:
        shutil.rmtree(own / CLIENTS, ignore_errors=True)


def read(folder: Path, scenario_sha256: str) -> Checkpoint | None:
    """Return the checkpoint of a run folder, verified; None if it has none yet.

    Raises
    ------
    CheckpointError
        If it is damaged, of another version, or of another scenario.
    """
    path = folder / FOLDER / MANIFEST
    if not path.exists():
        return None
    try:
        sealed = json.loads(path.read_bytes())
        content = sealed["content"]
        if files.digest(json.dumps(content, sort_keys=True).encode()) != sealed["sha256"]:
            raise CheckpointError(f"'{path}' is damaged: its SHA-256 is wrong; start the run anew")
        if content["schema"] != files.SCHEMA:
            raise CheckpointError(
                f"'{path}' has version {content['schema']}, not {files.SCHEMA}: go on with the semfed that wrote it"
            )
        if content["scenario_sha256"] != scenario_sha256:
            raise CheckpointError(f"'{path}' belongs to another scenario: go on with the one that the folder holds")
        tables: Tables = {}
        if content["round"] is not None:
            tables = files.read(path.with_name(Path(content["file"]).name), content["sha256"])
        return Checkpoint(
            run=content["run"],
            arm=content["arm"],
            seed=content["seed"],
            round=content["round"],
            aggregated=content["aggregated"],
            tables=tables,
            marks={int(client): StateRef(**mark) for client, mark in content["clients"].items()},
            trial=content["trial"],
            history={name: Extent(**extent) for name, extent in content["history"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"'{path}' cannot be read ({error}): start the run anew") from error
