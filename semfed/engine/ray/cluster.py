"""Ray itself: a private cluster on this machine, or one to join, and what it has room for."""

import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray.job_config import JobConfig

import semfed
from semfed.engine.sockets import socket_folder
from semfed.errors import EngineError

SMALL_BYTES = 2**20
"""What is smaller travels with the tasks and not through the object store, where an object costs Ray's processes
milliseconds, whatever its size."""
SETTINGS = {
    "free_objects_period_milliseconds": 100,
    "max_direct_call_object_size": SMALL_BYTES,
    "task_events_report_interval_ms": 0,
}
"""Of a private cluster. Its object store forgets replies that were read sooner than after Ray's own second: it would
grow by ten rounds of a small model, and every reply would land on memory that nobody has touched yet, which costs much
more. Events of single tasks are not collected: nobody looks at them, and short ones notice."""


CONNECT_S = 10.0
"""How long the head of a cluster to join may take to answer."""


def connect(address: str | None, workers: int | None) -> None:
    """Join a cluster, or start a private one.

    A private cluster has nothing to do with others on this machine, whatever the environment says of them. Its actors
    import what this process imports, whatever lies in the current folder.

    Parameters
    ----------
    address : str or None
        Of the cluster to join.
    workers : int or None
        CPUs of a private cluster; as many as the machine has if unset.

    Raises
    ------
    EngineError
        If Ray does not start or cannot be reached.
    """
    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.WARNING,
        "job_config": JobConfig(_py_driver_sys_path=_Fixed(_path())),
    }
    try:
        with _as_it_is(private=address is None):
            if address is None:
                ray.init(
                    address="local",
                    num_cpus=workers,
                    include_dashboard=False,
                    _temp_dir=os.path.join(socket_folder(os.environ), "ray"),
                    _system_config=SETTINGS,
                    **quiet,
                )
            else:
                _reach(address)
                ray.init(address=address, **quiet)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        where = f"the cluster at {address!r} cannot be joined" if address else "Ray does not start"
        raise EngineError(f"{where} ({error}): check --ray-address, or use --engine inprocess") from error


def enter(address: str | None, workers: int | None) -> bool:
    """Join a cluster, or start a private one, unless this process is in one; return whether it was in none.

    Parameters
    ----------
    address, workers
        See `connect`.

    Raises
    ------
    EngineError
        If Ray does not start or cannot be reached, or an address is given to a process that is in a cluster.
    """
    if not ray.is_initialized():
        connect(address, workers)
        return True
    if address is not None:
        raise EngineError(f"ray_address = {address!r}: this process has joined a Ray cluster already; leave it out")
    return False


def _reach(address: str) -> None:
    """Insist that somebody listens at a ``host:port``, for which Ray itself would wait for minutes.

    Raises
    ------
    OSError
        If the host is unknown, or nobody listens.
    OverflowError
        If there is no such port.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "://" not in address:  # others, such as "auto", are Ray's business
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()


def room(nodes: Sequence[Mapping[str, Any]], gpus: float) -> int:
    """Return how many actors of one CPU each a cluster can hold.

    Parameters
    ----------
    nodes : sequence of mapping
        As `ray.nodes` tells them.
    gpus : float
        Share of a GPU for every actor; shares of one actor are of one GPU.
    """
    total = 0
    for node in nodes:
        if not node["Alive"]:
            continue
        resources = node["Resources"]
        actors, cards = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if 0 < gpus < 1:
            actors = min(actors, cards * math.floor(1 / gpus + 1e-9))
        elif gpus:
            actors = min(actors, math.floor(cards / gpus))
        total += actors
    return total


def count_actors(
    clients: int,
    workers: int | None,
    gpus: float,
    cluster: Sequence[Mapping[str, Any]],
    *,
    option: str = "--workers",
) -> int:
    """Return how many actors there will be: what is asked for, or what there is room for; never more than clients.

    Parameters
    ----------
    clients : int
        Or whatever else is shared out among the actors.
    workers : int or None
        What is asked for.
    gpus : float
        Share of a GPU for every actor.
    cluster : sequence of mapping
        As `ray.nodes` tells its machines.
    option : str
        By which it was asked for.

    Raises
    ------
    EngineError
        If the cluster has no room for them: they would be waited for in silence.
    """
    space = room(cluster, gpus)
    count = min(clients, workers or max(space, 1))
    if count > space:
        each = "one CPU each" if not gpus else f"one CPU and {gpus:g} of a GPU each"
        raise EngineError(
            f"{count} actors with {each} are asked for, and this Ray cluster has room for {space}: lower {option} or "
            "--gpus-per-worker, or join a larger cluster"
        )
    return count


class _Fixed(list[str]):
    """Folders to which Ray cannot add: it would put the current one before all others."""

    def extend(self, folders: Iterable[str]) -> None:
        """Leave things as they are."""


def _path() -> list[str]:
    """Return where this process imports from, in the order in which an actor puts it in front: the first one last.

    An editable installation is found by a hook that is asked last, so its folder is told as well.
    """
    folders = [os.path.abspath(folder) for folder in sys.path]
    own = str(Path(semfed.__file__).resolve().parents[1])
    return [*reversed(folders), *([] if own in folders else [own])]


@contextmanager
def _as_it_is(*, private: bool) -> Iterator[None]:
    """Start Ray without what it changes in this process, and without what it adds to a cluster of one machine.

    It listens on all interfaces, whatever address it is given, unless clusters are off, which is its default on macOS.
    Under ``uv run`` it would send actors the project's folder, where they run already. The environment variables for
    both are read when Ray is imported, which may have happened long ago. And it takes over SIGTERM.
    """
    names = ["RAY_ENABLE_UV_RUN_RUNTIME_ENV", *(["ENABLE_RAY_CLUSTER"] if private else [])]
    before = {name: getattr(ray_constants, name) for name in names}
    handler = signal.getsignal(signal.SIGTERM)
    for name in names:
        setattr(ray_constants, name, False)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(ray_constants, name, value)
        with suppress(ValueError):  # only the main thread may, and only there Ray did
            signal.signal(signal.SIGTERM, handler)
