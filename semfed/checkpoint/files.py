"""Files that survive a crash: named arrays in safetensors, written atomically and verified by hash when read."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from semfed.errors import CheckpointError

Arrays = dict[str, npt.NDArray[Any]]
"""Named arrays, such as the weights of a network."""
Tables = dict[str, Arrays]
"""Groups of arrays, such as the records of a client's state."""

SCRATCH = ".{}.{}"
"""How a file is called while it is written: with the number of the process."""
SCHEMA = 2
"""Version of everything that checkpoints write; another one is refused."""


def write(path: Path, data: bytes, *, sync: bool = True, private: bool = False) -> None:
    """Write a file so that a reader, or a crash, finds the old or the new content, never a part.

    Parameters
    ----------
    path : Path
        Its folder must exist.
    data : bytes
    sync : bool, default True
        Wait until the disk has it: after a power failure, too, it is there before whatever is written next.
    private : bool, default False
        Nobody but its owner may read it, from the first byte on.

    Raises
    ------
    OSError
        As the system has it; the old file is as it was.
    """
    scratch = path.with_name(SCRATCH.format(path.name, os.getpid()))
    try:
        with open(scratch, "wb", opener=partial(os.open, mode=0o600 if private else 0o666)) as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise


def remove_scratch(folder: Path) -> None:
    """Remove what processes have left in a folder, and in those in it, that were killed while they wrote a file."""
    for parent in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        for path in parent.glob(SCRATCH.format("*", "[0-9]*")):
            path.unlink()


def sync_all(paths: Iterable[Path]) -> None:
    """Wait until the disk has some files; together they take little longer than one alone."""

    def sync(path: Path) -> None:
        with path.open("rb") as file:
            os.fsync(file.fileno())

    with ThreadPoolExecutor() as pool:
        list(pool.map(sync, paths))


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def dump(tables: Mapping[str, Mapping[str, npt.NDArray[Any]]]) -> bytes:
    """Write tables as one safetensors file, with their order, which safetensors itself does not keep.

    complex128, which safetensors does not know, is written as pairs of float64.
    """
    flat: Arrays = {}
    for table, arrays in tables.items():
        for name, array in arrays.items():
            real = array.reshape(-1).view(np.float64) if array.dtype == np.complex128 else array
            flat[json.dumps([table, name])] = np.asarray(real, order="C")
    order = {
        table: {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
        for table, arrays in tables.items()
    }
    # One entry, because safetensors would write several in any order: equal tables are equal bytes.
    return bytes(save(flat, metadata={"semfed": json.dumps({"schema": SCHEMA, "order": order})}))


def parse(data: bytes, what: str) -> Tables:
    """Read what `dump` wrote. Nothing is unpickled: anything but safetensors is refused.

    Parameters
    ----------
    data : bytes
    what : str
        How to call it in an error.

    Raises
    ------
    CheckpointError
        If it is not such a file, or of another version.
    """
    try:
        flat = load(data)
        length = int.from_bytes(data[:8], "little")
        about = json.loads(json.loads(data[8 : 8 + length]).get("__metadata__", {}).get("semfed", "{}"))
        if about.get("schema") != SCHEMA:
            raise CheckpointError(f"{what} has version {about.get('schema')}, not {SCHEMA}: start the run anew")
        order = about["order"]
        tables: Tables = {table: {} for table in order}
        for table, entries in order.items():
            for name, (dtype, shape) in entries.items():
                array = flat[json.dumps([table, name])]
                tables[table][name] = (array.view(dtype) if dtype == "complex128" else array).reshape(shape)
        return tables
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{what} cannot be read as safetensors ({error}): start the run anew") from error


def read(path: Path, sha256: str) -> Tables:
    """Read tables from a file that must have a given hash.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, or something else altogether.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read ({error.strerror}): start the run anew") from error
    if digest(data) != sha256:
        raise CheckpointError(f"'{path}' is damaged: its SHA-256 is not what the checkpoint says; start the run anew")
    return parse(data, f"'{path}'")
