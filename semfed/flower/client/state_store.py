"""The node's half of checkpoints: it keeps the private states of its clients on its own disk and puts them back.

A message whose adapter's record names a round in ``keep`` asks for the state after that message. A node in a
deployment says in its node config where (``state-dir``); simulations keep states in the run folder.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Context

from semfed.checkpoint import StateRef, client_file, files
from semfed.checkpoint.files import Tables
from semfed.errors import CheckpointError
from semfed.events.spans import span
from semfed.flower.trial import Trial
from semfed.scenario.paths import as_path


class StateStore:
    """Keeps the states of a node's clients for one trial of a run.

    Parameters
    ----------
    context : Context
        The node's; its state holds the clients' records as ``<client>/<name>``.
    run : str
        What the server calls the run; empty if nothing can be asked for.
    trial : Trial

    Attributes
    ----------
    durable : bool
        Whether a file is on the disk once it is written; in a run folder, the checkpoint waits for all files together.

    Raises
    ------
    CheckpointError
        If the run's name is none: it is a part of paths.
    """

    def __init__(self, context: Context, run: str, trial: Trial) -> None:
        if not re.fullmatch("[0-9a-f]{32}", run):
            raise CheckpointError(f"run {run!r} is no name of a run: 32 hexadecimal digits")
        deployed = context.node_config.get("state-dir")
        given = deployed or context.run_config.get("state-dir")
        self._folder = as_path(str(given)) if given else None
        self.durable = bool(deployed)
        self._context, self._run, self._trial = context, run, trial.digest

    @property
    def able(self) -> bool:
        """Whether the node was told where to keep states."""
        return self._folder is not None

    @span("checkpoint")
    def keep(self, client: int, order: Mapping[str, Any]) -> ConfigRecord:
        """Write a client's state and answer with its hash, which is empty for a client without private state.

        Parameters
        ----------
        client : int
        order : mapping
            ``keep``: the round; ``committed``: the round of the file that the last checkpoint needs, or -1. Both
            files stay, all others of the client go.
        """
        try:
            tables = self._tables(client)
            if not tables:
                return ConfigRecord({"kept": ""})
            path = self._path(client, int(order["keep"]))
            data = files.dump(tables)
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write(path, data, sync=self.durable)
            needed = {path, self._path(client, int(order["committed"]))}
            for old in path.parent.glob("round-*.safetensors"):
                if old not in needed:
                    old.unlink()
        except (OSError, CheckpointError) as error:
            return ConfigRecord({"problem": f"its state cannot be kept: {error}"})
        return ConfigRecord({"kept": files.digest(data)})

    def restore(self, client: int, mark: StateRef) -> None:
        """Put a client's state back.

        Raises
        ------
        CheckpointError
            If it is not what the checkpoint says.
        """
        for table, arrays in files.read(self._path(client, mark.round), mark.sha256).items():
            self._context.state[f"{client}/{table}"] = ArrayRecord({n: Array(array) for n, array in arrays.items()})

    def forget(self, client: int) -> None:
        """Remove what is kept of a client from other trials of the run, which are finished."""
        if self._folder is None or not (self._folder / self._run).is_dir():
            return
        own = self._path(client, 0).parent
        for path in (self._folder / self._run).glob(f"*/client-{client}/round-*.safetensors"):
            if path.parent != own:
                path.unlink(missing_ok=True)

    def _tables(self, client: int) -> Tables:
        prefix, tables = f"{client}/", Tables()
        for name, record in self._context.state.items():
            if name.startswith(prefix):
                if not isinstance(record, ArrayRecord):
                    raise CheckpointError(f"record {name.removeprefix(prefix)!r} has no arrays: use Session.save")
                tables[name.removeprefix(prefix)] = {key: array.numpy() for key, array in record.items()}
        return tables

    def _path(self, client: int, round_: int) -> Path:
        if self._folder is None:
            raise CheckpointError("this node has no folder for states: give it state-dir in its node config")
        return client_file(self._folder, self._run, self._trial, client, round_)
