"""Data sets of torchvision, and of whoever writes them likewise, as sources: any class of pairs of image and class."""

import inspect
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import torch.utils.data
from pydantic import Field

from semfed import seeding
from semfed.data.files import files_below, impatient
from semfed.data.samples import PixelSettings, SplitSettings, decode_samples, decoded, parted
from semfed.data.source import Decoded, Split, required_root
from semfed.errors import DataError, ScenarioError
from semfed.scenario import Scenario
from semfed.scenario.foreign import ForeignSettings, adapted, is_foreign, keywords, name_of, reason, takes
from semfed.scenario.offline import WouldFetch, offline

FILLED = frozenset({"root", "download"})


class ForeignDataSettings(PixelSettings, ForeignSettings):
    """What is decided here of another library's data set: where it is, and what becomes of its images."""

    filled: ClassVar[frozenset[str]] = FILLED | {"train"}
    folder: str = "."
    """Below the data root: the ``root`` of the class. Its files tell whether a decoded copy is still good."""
    class_names: tuple[str, ...] | None = None
    """What classes are called, in the order of their numbers; unset, as the data set calls them, else by number."""

    def idle(self, scenario: Scenario, here: str) -> list[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        if scenario.data.source.load().needs_root:
            return []
        return [(f"{here}.folder", f"{scenario.data.source.name!r} reads nothing from the data root")]


class NamedParts(ForeignDataSettings):
    """Of a class whose argument ``split`` names the part."""

    filled: ClassVar[frozenset[str]] = FILLED | {"split"}
    train_split: str = Field(default="train", min_length=1)
    """``split`` of the part to train on, where the class has that argument."""
    test_split: str = Field(default="test", min_length=1)
    """``split`` of the part to test on."""


class Unsplit(SplitSettings, ForeignDataSettings):
    """Of a class with neither ``train`` nor ``split``."""

    filled: ClassVar[frozenset[str]] = FILLED


class ForeignDataset:
    """A class of samples, made of its keyword arguments, once for training and once for the test; see `adapt`.

    Attributes
    ----------
    part : callable
    downloads, needs_root : bool
        Whether it takes ``download``, and ``root``.
    """

    Settings: ClassVar[type[ForeignDataSettings]] = ForeignDataSettings
    part: ClassVar[Callable[..., Any]]
    downloads: ClassVar[bool] = True
    needs_root: ClassVar[bool] = True

    def __init__(self, settings: ForeignDataSettings) -> None:
        self.settings = settings
        self._title = self.part.__name__
        self._keys: dict[str, Any] = keywords(settings, _base_for(self.part))

    def files(self, root: Path | None) -> list[Path] | None:
        """Return all files of the folder, and that of the class; None where it needs no folder, or has no such file."""
        code = _source(self.part)
        if not self.needs_root or code is None:
            return None
        found = files_below(self._folder(root))
        return [*found, code] if found else []

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        """Decode everything; mean and standard deviation are those of the training images.

        What the class draws from global generators is always the same.
        """
        folder = self._folder(root) if self.needs_root else None
        with seeding.own_globals(0, "data set"):
            made = [self._made(which, folder, download=download) for which in self._parts()]
            try:
                with offline(allowed=download):
                    splits = [decode_samples(samples, self.settings.reading, self._title) for samples in made]
            except WouldFetch as wanted:
                raise DataError(
                    self._missing(f"it would fetch {wanted}", {**self._keys, **self._parts()[0]}, folder)
                ) from None
        classes = self._classes(made, splits)
        if isinstance(self.settings, Unsplit):
            splits = list(parted(splits[0], self.settings, self._title))
        return decoded(self._title, classes, *splits)

    def _folder(self, root: Path | None) -> Path:
        return required_root(root, self._title) / self.settings.folder

    def _parts(self) -> list[dict[str, Any]]:
        """Return the arguments that tell the parts apart, the training part's first; one where there are none."""
        if isinstance(self.settings, NamedParts):
            return [{"split": self.settings.train_split}, {"split": self.settings.test_split}]
        return [{}] if isinstance(self.settings, Unsplit) else [{"train": True}, {"train": False}]

    def _made(self, which: dict[str, Any], folder: Path | None, *, download: bool) -> Any:
        """Make a part of the data set; what is missing is fetched if that is allowed, and only then."""
        given = {**self._keys, **which}
        if folder is not None:
            given["root"] = str(folder)
        try:
            with offline():
                made = self.part(**given, **({"download": False} if self.downloads else {}))
        except (TypeError, ValueError) as error:
            raise ScenarioError(
                f"data source {name_of(self.part)} refuses its arguments or its files ({reason(error)}): change the "
                "arguments, or fetch the files again"
            ) from error
        except WouldFetch as wanted:
            made, problem = None, f"it would fetch {wanted}"
        except Exception as error:
            made, problem = None, reason(error)
        if made is None:
            if not (download and self.downloads):
                raise DataError(self._missing(problem, given, folder))
            made = self._fetched(given, folder)
        if not hasattr(made, "__len__"):
            raise DataError(f"data source {name_of(self.part)} does not say how many samples it has: give it __len__()")
        return made

    def _fetched(self, given: dict[str, Any], folder: Path | None) -> Any:
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            with impatient():
                return self.part(**given, download=True)
        except Exception as error:
            raise DataError(
                f"{self._title}: the download failed ({reason(error)}); {self._by_hand(given, folder)} by hand"
            ) from error

    def _missing(self, problem: str, given: dict[str, Any], folder: Path | None) -> str:
        where = f"in '{folder}'" if folder is not None else "here"
        if not self.downloads:
            there = f"put its files into '{folder}'" if folder is not None else "mend the class"
            return f"{self._title} cannot be read {where} ({problem}): {there}, or change its arguments"
        allow = "allow the download with --set data.download=true"
        return f"{self._title} is not {where} ({problem}): {self._by_hand(given, folder)}, or {allow}"

    def _by_hand(self, given: dict[str, Any], folder: Path | None) -> str:
        """Say what has to be fetched, and whereto."""
        if folder is None:
            return "fetch what it needs"
        with TemporaryDirectory() as scratch:
            address = _first_address(self.part, {**given, "root": scratch})
            below = [os.path.relpath(where, scratch) for where, folders, _ in os.walk(scratch) if not folders]
        place = folder / below[0] if len(below) == 1 else folder
        if address is None:
            return f"put its files into '{folder}'"
        return f"fetch {address} and whatever belongs to it into '{place}', unpacked as torchvision does,"

    def _classes(self, made: Sequence[Any], splits: Sequence[Split]) -> tuple[str, ...]:
        """Return what classes are called."""
        told = [_names(one) for one in made]
        if self.settings.class_names is None and any(names != told[0] for names in told):
            raise DataError(f"{self._title}: its parts have different lists of classes: set data.source.class_names")
        count = 1 + max(int(labels.max()) for _, labels in splits)
        names = self.settings.class_names or told[0] or tuple(map(str, range(count)))
        if len(names) < count:
            whose = "it tells" if self.settings.class_names is None else "data.source.class_names has"
            raise DataError(
                f"{self._title} has classes from 0 to {count - 1}, but {whose} {len(names)} names: set "
                "data.source.class_names to one name a class"
            )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(
                f"{self._title} has two classes that are called {twice!r}: set data.source.class_names, one name a "
                "class"
            )
        return names


def _names(samples: Any) -> tuple[str, ...] | None:
    """Return a data set's own names of classes; of several names for one, the first."""
    told = getattr(samples, "classes", None)
    if not isinstance(told, list | tuple):
        return None
    return tuple(str(name[0] if isinstance(name, list | tuple) and name else name) for name in told)


def _first_address(part: Callable[..., Any], given: dict[str, Any]) -> str | None:
    """Return what a part would fetch first, without letting it."""
    try:
        with offline():
            part(**given, download=True)
    except WouldFetch as wanted:
        return str(wanted)
    except Exception:
        return None
    return None


def _source(part: Callable[..., Any]) -> Path | None:
    try:
        found = inspect.getsourcefile(part)
    except (OSError, TypeError):  # of a notebook, or written in C
        return None
    return Path(found) if found is not None and os.path.isfile(found) else None


def _base_for(part: Callable[..., Any]) -> type[ForeignDataSettings]:
    if takes(part, "train"):
        return ForeignDataSettings
    return NamedParts if takes(part, "split") else Unsplit


def adapt(part: Any) -> Any:
    """Return a source of a class of samples, or of a function that says that it returns one; a source as it is.

    Raises
    ------
    ScenarioError
        If it has an argument that no scenario can give, or is a function that does not say what it makes.
    """
    return _adapted(part) if is_foreign(part, torch.utils.data.Dataset, "read") else part


@lru_cache(maxsize=64)
def _adapted(part: Any) -> type[ForeignDataset]:
    about = {"__doc__": inspect.getdoc(part), "downloads": takes(part, "download"), "needs_root": takes(part, "root")}
    return adapted(part, ForeignDataset, _base_for(part), **about)
