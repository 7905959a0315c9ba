"""What a scenario compares: its arms, and what they change."""

import re
from collections.abc import Iterator, Mapping
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


class Sweep(StrictModel):
    """What ``--sweep`` made of the arms: every one of `arms` occurs with every value, as ``<arm>@<value>``."""

    setting: str
    """Its dotted path."""
    values: tuple[Annotated[float, Field(allow_inf_nan=True)] | str, ...]
    """Of the setting, in order."""
    arms: tuple[str, ...]
    """Which arms were swept."""


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
