"""What a folder of class folders holds: what is read, and what is left out and why."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from semfed.data import pixels
from semfed.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
PARTS = ("train", "test")
MOST_NAMED = 3


@dataclass(frozen=True)
class Listing:
    """Content of ``folder/<class>/<image>``.

    Attributes
    ----------
    folder : Path
    images : dict of str to tuple of Path
        Of every class, by name; both are sorted. An empty tuple is a class folder without images.
    nested : dict of str to tuple of Path
        Images in subfolders of class folders, for classes that have any.
    left_out : dict of Path to str
        Files and folders that are never read, and why.
    """

    folder: Path
    images: dict[str, tuple[Path, ...]]
    nested: dict[str, tuple[Path, ...]]
    left_out: dict[Path, str]

    def read(self, nested: bool | None) -> dict[str, tuple[Path, ...]]:
        """Return the images of every class.

        Parameters
        ----------
        nested : bool or None
            Take images in subfolders of a class folder as well, leave them out, or, for None, refuse them.

        Raises
        ------
        DataError
            If there are no classes, a class has no images, or there are images that nobody said what to do with.
        """
        if not self.images:
            raise DataError(f"'{self.folder}' has no class folders: put images into '{self.folder}/<class>/'")
        for unread, remedy in ((OTHER_FORMAT, "convert or remove them"), (BESIDE, "move them into one")):
            others = [path for path, reason in self.left_out.items() if reason == unread]
            if others:
                raise DataError(f"{_named(others)}: {unread} ({', '.join(sorted(SUFFIXES))}); {remedy}")
        inside = [path for paths in self.nested.values() for path in paths]
        if inside and nested is None:
            raise DataError(
                f"{_named(inside)} lie in subfolders of their class: set data.source.nested to true to read them, or "
                "to false to leave them out"
            )
        taken = {
            name: tuple(sorted((*paths, *self.nested.get(name, ())))) if nested else paths
            for name, paths in self.images.items()
        }
        for name, paths in taken.items():
            if not paths:
                raise DataError(f"class folder '{self.folder / name}' has no images ({', '.join(sorted(SUFFIXES))})")
        return taken


OTHER_FORMAT, BESIDE = "of a format that is not read", "not in a class folder"
HIDDEN, NO_IMAGE = "hidden", "no image"


def scan(folder: Path, *, without: Collection[str] = ()) -> Listing:
    """Look at all names below a folder but some; links are followed, and nothing is decoded.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    images: dict[str, tuple[Path, ...]] = {}
    nested: dict[str, tuple[Path, ...]] = {}
    left_out: dict[Path, str] = {}
    try:
        for path in sorted(path for path in folder.iterdir() if path.name not in without):
            if path.name.startswith(".") or path.name == "__MACOSX":
                left_out[path] = HIDDEN
            elif not path.is_dir():
                left_out[path] = BESIDE if _counts(path, left_out) else left_out[path]
            else:
                found = [inside for inside in _files(path, left_out) if _counts(inside, left_out)]
                images[path.name] = tuple(inside for inside in found if inside.parent == path)
                if len(images[path.name]) < len(found):
                    nested[path.name] = tuple(inside for inside in found if inside.parent != path)
    except OSError as error:
        raise DataError(f"'{folder}' cannot be read ({error}): make it readable") from error
    return Listing(folder, images, nested, left_out)


def parts(folder: Path) -> dict[str, Listing]:
    """Return the listings of ``train`` and ``test`` and of what lies beside them, or one where there are not both.

    Returns
    -------
    dict
        From ``train``, ``test`` and ``beside``, or from ``all``.

    Raises
    ------
    DataError
        As `scan`.
    """
    if not all(os.path.isdir(folder / part) for part in PARTS):
        return {"all": scan(folder)}
    return {**{part: scan(folder / part) for part in PARTS}, "beside": scan(folder, without=PARTS)}


def table(folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield rows of what a folder holds: part, class, images, sizes, modes, and what is to be known of it."""
    found = parts(folder)
    for part, listing in found.items():
        for name, paths in listing.images.items():
            notes = ["left out: neither train nor test"] if part == "beside" else []
            if part == "test" and name not in found["train"].images:
                notes = ["refused: a class of the test part only"]
            yield part, name, *_told(paths, notes)
            if name in listing.nested:
                yield part, f"{name}/*", *_told(listing.nested[name], ["in subfolders: see data.source.nested"])
        for path, reason in listing.left_out.items():
            yield part, str(path.relative_to(listing.folder)), "", "", "", f"left out: {reason}"


def _told(paths: tuple[Path, ...], notes: list[str]) -> tuple[str, ...]:
    """Return number, sizes, modes and notes of some images."""
    sizes, modes, problems = Counter[str](), Counter[str](), []
    for path in paths:
        try:
            kind, size = pixels.look(path)
        except DataError as error:
            problems.append(f"refused: {error}")
        else:
            sizes[f"{size[0]} x {size[1]}"] += 1
            modes[str(kind)] += 1
    return str(len(paths)), _counted(sizes), _counted(modes), "; ".join([*notes, *problems])


def _counted(found: Counter[str]) -> str:
    shown = [f"{name} ({count})" if len(found) > 1 else name for name, count in found.most_common(MOST_NAMED)]
    return ", ".join([*shown, f"{len(found) - MOST_NAMED} more"] if len(found) > MOST_NAMED else shown)


def _named(paths: list[Path]) -> str:
    more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
    return ", ".join(f"'{path}'" for path in paths[:MOST_NAMED]) + more


def _files(folder: Path, left_out: dict[Path, str]) -> Iterator[Path]:
    """Yield all files below a folder, in links to folders too, each folder once; hidden folders are noted."""
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        true = os.path.realpath(where)
        if true in seen:
            folders.clear()
            continue
        seen.add(true)
        left_out.update((Path(where) / name, HIDDEN) for name in folders if name.startswith("."))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where) / name for name in sorted(names))


def _raise(error: OSError) -> None:
    raise error


def _counts(path: Path, left_out: dict[Path, str]) -> bool:
    """Whether a file is an image that is read; what is not is noted."""
    if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
        return True
    other = path.suffix.lower() in _other_formats()
    left_out[path] = HIDDEN if path.name.startswith(".") else OTHER_FORMAT if other else NO_IMAGE
    return False


@cache
def _other_formats() -> frozenset[str]:
    known = Image.registered_extensions()
    return frozenset(name for name, format_ in known.items() if format_ in Image.OPEN) | {".heic", ".heif", ".npy"}
