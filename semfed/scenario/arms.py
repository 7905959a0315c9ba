"""What a scenario compares: its arms, and what they change."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from semfed.scenario.settings import StrictModel


def _file_name(value: str) -> str:
    """Insist on a name that can be part of a file's name anywhere."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@+-]*", value) is None:
        raise ValueError("files are called by it: use the letters A to Z, digits and _ . @ + - after the first")
    return value


FileName = Annotated[str, AfterValidator(_file_name)]


class Arm(StrictModel):
    """A variant: its name, and the tables in which it differs from the scenario around it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: FileName
    """Of the arm, in tables, figures and file names."""

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        for path in _unset(self.changes):
            raise ValueError(f"{path} is None, which no file of a scenario can hold: leave it out")
        return self

    @property
    def changes(self) -> dict[str, Any]:
        """The tables that this arm replaces or amends."""
        return dict(self.model_extra or {})


def _unset(value: Any, here: str = "") -> Iterator[str]:
    """Yield the paths of what is None inside tables and lists."""
    if value is None:
        yield here.removeprefix(".")
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        yield from _unset(item, f"{here}.{key}")


class Axis(StrictModel):
    """A setting that a sweep varies: its dotted path, and its values in their order, each as TOML can hold it."""

    setting: str
    """Its dotted path."""
    values: tuple[Any, ...] = Field(min_length=1)
    """Of the setting, in order."""

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        names = [called(value) for value in self.values]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"sweep of {self.setting}: {twice[0]} stands there twice; write it once")
        return self

    @property
    def numeric(self) -> bool:
        """Whether all values are finite numbers, so that they have a place on an axis of a figure."""
        return all(type(value) in (int, float) and math.isfinite(value) for value in self.values)


@dataclass(frozen=True)
class Point:
    """What an arm of a sweep is: one of the arms that were swept, and the value that every swept setting has."""

    arm: str
    values: Mapping[str, Any]


class Sweep(StrictModel):
    """What a sweep made of the arms: every one of `arms` occurs at every point of the product of `axes`.

    Written by a person, it is a table from settings to values, which `semfed.scenario.overrides.load` spreads.
    """

    axes: tuple[Axis, ...] = Field(min_length=1)
    """What is varied; the first one outermost."""
    arms: tuple[str, ...] = Field(min_length=1)
    """Which arms are swept."""

    @model_validator(mode="before")
    @classmethod
    def _read_one_axis(cls, value: Any) -> Any:
        """Take what runs of earlier versions hold, which knew one axis only."""
        if isinstance(value, Mapping) and set(value) == {"setting", "values", "arms"}:
            return {"axes": [{"setting": value["setting"], "values": value["values"]}], "arms": value["arms"]}
        return value

    def points(self) -> dict[str, Point]:
        """Return what the arms are, by their names, in the order of the scenario."""
        settings = [axis.setting for axis in self.axes]
        combined = itertools.product(*(axis.values for axis in self.axes))
        points = [dict(zip(settings, values, strict=True)) for values in combined]
        return {self.name(arm, values): Point(arm, values) for values in points for arm in self.arms}

    @staticmethod
    def name(arm: str, values: Mapping[str, Any]) -> str:
        """Return what an arm is called at a point: ``<arm>@<value>``, one value an axis.

        Examples
        --------
        >>> Sweep.name("mtoc", {"channel.snr_db": -5.0, "training.lr": 0.1})
        'mtoc@-5@0.1'
        """
        return "@".join([arm, *map(called, values.values())])


def called(value: Any) -> str:
    """Return a value as a part of a file's name.

    Examples
    --------
    >>> [called(value) for value in (10, 10.0, 0.5, True, "t1", [0.2, 0.8], {"name": "rayleigh", "uses": 4})]
    ['10', '10', '0.5', 'true', 't1', '0.2_0.8', 'rayleigh_uses-4']
    """
    if isinstance(value, Mapping):
        return "_".join(called(item) if key == "name" else f"{key}-{called(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "_".join(map(called, value))
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"[^A-Za-z0-9_.@+-]+", "-", text.removesuffix(".0") if isinstance(value, float) else text)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay changes over a tree of tables. A table that names another plugin replaces the old one altogether.

    Examples
    --------
    >>> merge({"channel": {"name": "awgn", "snr_db": 3}}, {"channel": {"snr_db": 5}})
    {'channel': {'name': 'awgn', 'snr_db': 5}}
    >>> merge({"channel": {"name": "awgn", "snr_db": 3}}, {"channel": {"name": "rayleigh"}})
    {'channel': {'name': 'rayleigh'}}
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and value.get("name") in (None, old.get("name")):
            merged[key] = merge(old, value)
        elif isinstance(value, str) and isinstance(old, Mapping) and "name" in old:
            merged[key] = old if value == old["name"] else {"name": value}
        else:
            merged[key] = value
    return merged
