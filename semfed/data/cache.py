"""Decode a data set once: later processes map the arrays into memory and share them.

An entry is a folder of ``.npy`` files and a ``meta.json`` with their SHA-256. It is written beside its place and
renamed into it, so a half-written entry is never seen; a damaged one is decoded again.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import torch

from semfed.data.dataset import Dataset, ImageSet
from semfed.data.source import Decoded, Source
from semfed.errors import DataError

SCHEMA = 4
PARTS = ("train", "test")
ARRAYS = ("train-images", "train-labels", "test-images", "test-labels")


def default_folder() -> Path:
    """Return where decoded data sets are kept: ``SEMFED_CACHE``, or a folder of the user's cache.

    Raises
    ------
    DataError
        If neither is set and the user has no home, as an unknown user of a container.
    """
    given = os.environ.get("SEMFED_CACHE")
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(cache or Path.home() / ".cache") / "semfed"
    except RuntimeError as error:
        raise DataError("there is no home folder to keep decoded images in: set SEMFED_CACHE to a folder") from error


def open_dataset(
    source: Source, name: str, root: Path | None, *, download: bool = False, folder: Path | None = None
) -> Dataset:
    """Return a data set with memory-mapped tensors, decoding it first where there is no sound copy.

    Parameters
    ----------
    source : Source
        The plugin that decodes.
    name : str
        Its name; part of the entry's folder.
    root : Path or None
        The data root.
    download : bool, default False
        Whether missing files may be fetched.
    folder : Path, optional
        Where copies are kept; `default_folder` by default.

    Raises
    ------
    DataError
        If the files are missing or damaged.
    """
    files = source.files(root)
    found = _read(_entry(source, name, files, folder)) if files else None
    if found is not None:
        return found
    decoded = source.read(root, download=download).checked(name)
    if download:
        files = source.files(root)  # some may have been fetched
    if not files:
        return _in_memory(decoded)
    entry = _entry(source, name, files, folder)
    try:
        _write(entry, decoded)
    except OSError as error:
        raise DataError(f"decoded images cannot be kept in '{entry.parent}' ({error}): set SEMFED_CACHE") from error
    found = _read(entry)
    if found is None:
        raise DataError(f"the decoded copy in '{entry}' is damaged as soon as it is written: check the disk")
    return found


def _entry(source: Source, name: str, files: list[Path], folder: Path | None) -> Path:
    return (folder or default_folder()) / f"{name.replace(':', '.')}-{_fingerprint(source, files)}"


def _fingerprint(source: Source, files: list[Path]) -> str:
    stats = [(path, path.stat()) for path in files]
    # Inode and change time see what size and modification time do not: a link that leads elsewhere, a restored date.
    facts = [(str(path), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for path, s in stats]
    text = json.dumps([SCHEMA, PIL.__version__, source.settings.model_dump(mode="json"), facts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(entry: Path, decoded: Decoded) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        arrays: list[npt.NDArray[Any]] = [*decoded.train, *decoded.test]
        named = dict(zip(ARRAYS, arrays, strict=True))
        for part, targets in zip(PARTS, decoded.targets, strict=True):
            named |= {f"{part}-target-{k}": numbers for k, numbers in enumerate(targets.values())}
        named |= {f"attribute-{k}": marks for k, marks in enumerate(decoded.attributes.values())}
        for name, array in named.items():
            np.save(scratch / f"{name}.npy", array, allow_pickle=False)
        meta = {
            "title": decoded.title,
            "classes": decoded.classes,
            "mean": decoded.mean,
            "std": decoded.std,
            "targets": list(decoded.targets[0]),
            "attributes": list(decoded.attributes),
            "sha256": {name: _digest(scratch / f"{name}.npy") for name in named},
        }
        (scratch / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        if _read(entry) is None:  # another process may have been faster
            shutil.rmtree(entry, ignore_errors=True)
            try:
                scratch.rename(entry)
            except OSError:  # or was so in between
                if _read(entry) is None:
                    raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _read(entry: Path) -> Dataset | None:
    try:
        meta: dict[str, Any] = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
        attributes = {name: f"attribute-{k}" for k, name in enumerate(meta["attributes"])}
        targets = [f"{part}-target-{k}" for part in PARTS for k in range(len(meta["targets"]))]
        names = [*ARRAYS, *targets, *attributes.values()]
        if any(_digest(entry / f"{name}.npy") != meta["sha256"][name] for name in names):
            return None
        arrays = {name: np.load(entry / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in names}
    except (OSError, ValueError, KeyError):
        return None
    tensors = {name: torch.from_numpy(arrays[name]) for name in (*ARRAYS, *targets)}
    train, test = (
        ImageSet(
            tensors[f"{part}-images"],
            tensors[f"{part}-labels"],
            {target: tensors[f"{part}-target-{k}"] for k, target in enumerate(meta["targets"])},
        )
        for part in PARTS
    )
    return Dataset(
        meta["title"],
        tuple(meta["classes"]),
        train,
        test,
        tuple(meta["mean"]),
        tuple(meta["std"]),
        {name: arrays[file] for name, file in attributes.items()},
    )


def _in_memory(decoded: Decoded) -> Dataset:
    train, test = (
        ImageSet(
            torch.from_numpy(images),
            torch.from_numpy(labels),
            {name: torch.from_numpy(numbers) for name, numbers in targets.items()},
        )
        for (images, labels), targets in zip((decoded.train, decoded.test), decoded.targets, strict=True)
    )
    return Dataset(decoded.title, decoded.classes, train, test, decoded.mean, decoded.std, decoded.attributes)
