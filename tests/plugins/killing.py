"""Runs that kill their own process at a given moment, without any chance to clean up."""

import os
import signal
from pathlib import Path
from typing import Any

import semfed.clients.aligned_user
import semfed.clients.joint
import semfed.clients.multitask
import semfed.clients.split
import semfed.strategies.alignment
import semfed.strategies.clustered
import semfed.strategies.fedcl  # all of this is imported once, before processes are forked
import sklearn.datasets  # noqa: F401

import semfed
import semfed.engine.local
import semfed.flower.server.run
import semfed.runs.recorder
from semfed.checkpoint import files
from semfed.events.callbacks import Callback


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class KillAt(Callback):
    """Kills after an event, such as the next round's records (before its checkpoint) or the next checkpoint."""

    def __init__(self, event: str) -> None:
        setattr(self, event, lambda *args: kill())


def kill_in_write(number: int) -> None:
    """Kill when so many files have been written, in the middle of the next one."""
    complete = files.write
    left = number

    def write(path: Path, data: bytes, **how: bool) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            path.with_name(f".{path.name}.{os.getpid()}").write_bytes(data[: len(data) // 2])
            kill()
        complete(path, data, **how)

    files.write = write


def run(event: str, number: int, given: dict[str, Any]) -> None:
    """Run, or go on, until the event; to the end if it does not come."""
    if event == "write":
        kill_in_write(number)
    semfed.run(**given, callbacks=[KillAt(event)] if event.startswith("on_") else [])
