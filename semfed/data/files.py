"""The files that a data set may be read from."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DOWNLOAD_TIMEOUT_S = 10.0


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted; in folders that links lead to, too, each folder once."""
    found, seen = list[Path](), set[str]()
    for where, folders, names in os.walk(folder, followlinks=True):
        true = os.path.realpath(where)
        if true in seen:
            folders.clear()
            continue
        seen.add(true)
        found += [path for path in (Path(where, name) for name in names) if path.is_file()]
    return sorted(found)


@contextmanager
def impatient() -> Iterator[None]:
    """Let a download fail soon where nobody answers: libraries wait for as long as sockets do by default."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
