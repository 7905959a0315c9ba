"""The part of a run folder that holds trained networks, a folder of ``models/`` a trial.

::

    index.json               which client has what, of which round, and the SHA-256 of the files
    part-<n>.safetensors     weights: ``client-<k>/<network>.<...>``, and ``shared-<n>/<...>`` for what several have
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from semfed.checkpoint import files
from semfed.checkpoint.files import Arrays
from semfed.errors import RunFolderError
from semfed.events import strict_json
from semfed.events.callbacks import TrainedNetworks, array_digest
from semfed.runs import folder as folders

INDEX = "index.json"
SCHEMA = 1
PART_BYTES = 64 * 1024 * 1024
"""From this size on, weights go to another file: neither many files nor all weights in memory at once."""


def place(folder: Path, arm: str, seed: int) -> Path:
    """Return where a run folder has the networks of a trial."""
    return folder / "models" / f"{arm}-seed{seed}"


class NetworksWriter:
    """Writes the networks of one trial, client by client.

    Parameters
    ----------
    folder : Path
        See `place`; what was there before is removed.
    clients : int
        How many there are. With the last one the index is written: without it there is nothing to read.

    Attributes
    ----------
    complete : bool
        Whether all clients' are there.
    """

    def __init__(self, folder: Path, clients: int) -> None:
        self._folder, self._clients, self.complete = folder, clients, False
        self._part: Arrays = {}
        self._bytes = 0
        self._shared: dict[str, str] = {}
        self._last: tuple[Mapping[str, npt.NDArray[Any]], str] = {}, ""
        self._systems: dict[str, int] = {}
        self._index: dict[str, Any] = {"schema": SCHEMA, "clients": {}, "systems": [], "tables": {}, "files": {}}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def add(self, networks: TrainedNetworks) -> None:
        """Take the networks of a client."""
        self._index["clients"][str(networks.client)] = self._entry(networks)
        self.complete = len(self._index["clients"]) == self._clients
        if self.complete:
            self._flush()
            folders.write_atomically(self._folder / INDEX, strict_json.dumps(self._index, indent=1) + "\n")

    def _entry(self, networks: TrainedNetworks) -> dict[str, Any]:
        """Put what is new into the current part, and say where everything is."""
        if networks.problem:
            return {"problem": networks.problem}
        entry: dict[str, Any] = {}
        if networks.own:
            entry["own"] = self._put(f"client-{networks.client}", networks.own)
        system = {"round": networks.round, "config": dict(networks.config), "images": dict(networks.images)}
        if networks.received:
            if networks.shared is not self._last[0]:  # clients that have the same come one after the other, as a rule
                self._last = networks.shared, array_digest(networks.shared)
            digest = self._last[1]
            if digest not in self._shared:
                self._shared[digest] = self._put(f"shared-{len(self._shared)}", networks.shared)
            system |= {"shared": self._shared[digest], "received": dict(networks.received)}
        entry["system"] = self._systems.setdefault(strict_json.dumps(system), len(self._systems))
        if entry["system"] == len(self._index["systems"]):
            self._index["systems"].append(system)
        return entry

    def _put(self, table: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
        self._part |= {f"{table}/{name}": np.asarray(array, order="C") for name, array in arrays.items()}
        self._index["tables"][table] = self._file
        self._bytes += sum(array.nbytes for array in arrays.values())
        if self._bytes >= PART_BYTES:
            self._flush()
        return table

    @property
    def _file(self) -> str:
        return f"part-{len(self._index['files'])}.safetensors"

    def _flush(self) -> None:
        if self._part:
            data, name = save(self._part), self._file
            files.write(self._folder / name, data)
            self._index["files"][name] = files.digest(data)
            self._part, self._bytes = {}, 0


def read(folder: Path, client: int, name: str) -> tuple[Arrays, dict[str, Any]]:
    """Return the weights of a client and what is to be known about them.

    Parameters
    ----------
    folder : Path
        See `place`.
    client : int
    name : str
        Of the client, for messages.

    Returns
    -------
    weights : dict of str to ndarray
        By names as in `semfed.training.objective.Networks`.
    about : dict
        ``round``, ``config`` and ``images``; see `semfed.events.callbacks.TrainedNetworks`.

    Raises
    ------
    RunFolderError
        If there are none, or files are missing or damaged.
    """
    if not (folder / INDEX).is_file():
        raise RunFolderError(f"'{folder}' holds no networks: the run did not keep any, or the trial has not ended")
    index = folders.read_json(folder / INDEX)
    try:
        return _weights(folder, index, client, name)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise RunFolderError(
            f"'{folder / INDEX}' is damaged ({error!r}): the networks of the trial are lost"
        ) from error


def _weights(folder: Path, index: dict[str, Any], client: int, name: str) -> tuple[Arrays, dict[str, Any]]:
    if index.get("schema") != SCHEMA:
        raise RunFolderError(
            f"'{folder / INDEX}' has version {index.get('schema')}, not {SCHEMA}: load it with that one"
        )
    entry = index["clients"][str(client)]
    if "problem" in entry:
        raise RunFolderError(f"no networks of client {name!r} were kept: {entry['problem']}")
    about = index["systems"][entry["system"]]
    tables = _Tables(folder, index)
    weights = tables.own(entry["own"]) if "own" in entry else {}
    if "shared" in about:
        shared = tables.shared(about["shared"])
        weights |= {own: shared[told] for own, told in about["received"].items()}
    return weights, about


def each(folder: Path) -> Iterator[TrainedNetworks]:
    """Yield the networks of a trial as `NetworksWriter` has been given them, in the same order.

    Parameters
    ----------
    folder : Path
        See `place`.

    Raises
    ------
    RunFolderError
        If files are missing or damaged.
    """
    index = folders.read_json(folder / INDEX)
    tables = _Tables(folder, index)
    for client, entry in index["clients"].items():
        if "problem" in entry:
            yield TrainedNetworks(int(client), 0, problem=entry["problem"])
            continue
        system = index["systems"][entry["system"]]
        yield TrainedNetworks(
            int(client),
            system["round"],
            own=tables.own(entry["own"]) if "own" in entry else {},
            shared=tables.shared(system["shared"]) if "shared" in system else {},
            received=system.get("received", {}),
            config=system["config"],
            images=system["images"],
        )


class _Tables:
    """The tables of weights of a trial; the last file and the last shared table stay in memory."""

    def __init__(self, folder: Path, index: Mapping[str, Any]) -> None:
        self._folder, self._index = folder, index
        self._part: tuple[str, Arrays] = "", {}
        self._last: tuple[str, Arrays] = "", {}

    def own(self, table: str) -> Arrays:
        """Return a table of one client."""
        name, prefix = self._index["tables"][table], f"{table}/"
        if name != self._part[0]:
            self._part = name, self._load(name)
        return {key.removeprefix(prefix): array for key, array in self._part[1].items() if key.startswith(prefix)}

    def shared(self, table: str) -> Arrays:
        """Return a table of several clients, one and the same object for those that follow one another."""
        if table != self._last[0]:
            self._last = table, self.own(table)
        return self._last[1]

    def _load(self, name: str) -> Arrays:
        path = self._folder / name
        try:
            data = path.read_bytes()
            if files.digest(data) != self._index["files"][name]:
                raise RunFolderError(
                    f"'{path}' is damaged: its SHA-256 is not what {INDEX} says; the networks are lost"
                )
            return load(data)
        except (OSError, SafetensorError) as error:
            raise RunFolderError(f"'{path}' cannot be read ({error}): the networks of the trial are lost") from error
