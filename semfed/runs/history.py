"""The files of a run folder that only grow, and how much of them a checkpoint vouches for."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from semfed.checkpoint import Checkpoint, Extent
from semfed.errors import RunFolderError
from semfed.runs import folder as folders


class History:
    """Appends lines and knows length and SHA-256 of every file.

    Parameters
    ----------
    folder : Path
        The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hashes = {name: hashlib.sha256() for name in folders.HISTORY}
        self._bytes = dict.fromkeys(folders.HISTORY, 0)

    def append(self, name: str, lines: Iterable[str]) -> None:
        """Append lines to a file in one write.

        Raises
        ------
        RunFolderError
            If the disk is full, for example.
        """
        data = "".join(f"{line}\n" for line in lines).encode()
        with told_clearly(self._folder), (self._folder / name).open("ab") as file:
            file.write(data)
        self._hashes[name].update(data)
        self._bytes[name] += len(data)

    def extents(self) -> dict[str, Extent]:
        """Return how much of every file there is."""
        return {name: Extent(self._bytes[name], self._hashes[name].hexdigest()) for name in folders.HISTORY}

    def cut(self, checkpoint: Checkpoint) -> None:
        """Remove what came after a checkpoint: it will be done again.

        Raises
        ------
        RunFolderError
            If what came before is not what it was; nothing is removed then.
        """
        for name in folders.HISTORY:
            extent, path = checkpoint.history.get(name, Extent(0, "")), self._folder / name
            data = path.read_bytes()[: extent.bytes] if path.exists() else b""
            self._hashes[name] = hashlib.sha256(data)
            self._bytes[name] = len(data)
            if extent.bytes and (len(data) < extent.bytes or self._hashes[name].hexdigest() != extent.sha256):
                raise RunFolderError(f"'{path}' is damaged before the checkpoint: start the run anew")
        for name in folders.HISTORY:
            if (self._folder / name).exists():
                os.truncate(self._folder / name, self._bytes[name])


@contextmanager
def told_clearly(folder: Path) -> Iterator[None]:
    """Turn what the system says of a folder that cannot be written into one sentence."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"run folder '{folder}' cannot be written ({error.strerror or error}): make room, then go on with --resume"
        ) from error
