"""Look-up of the exchangeable parts: built-in or third-party, all by entry point or ``module:attribute``.

A distribution offers a part by an entry point in one of the groups ``semfed.strategies``, ``semfed.clients``,
``semfed.channels``, ``semfed.datasets``, ``semfed.latents``, ``semfed.models`` and ``semfed.callbacks``. Nothing else
is ever imported on the word of a scenario or of a message.
"""

import importlib
import inspect
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError

from semfed.errors import ScenarioError
from semfed.settings import StrictModel, suggest

GROUPS = ("strategies", "clients", "channels", "datasets", "latents", "models", "callbacks")


@lru_cache(maxsize=len(GROUPS))
def available(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name.

    Parameters
    ----------
    group : str
        One of `GROUPS`.
    """
    return {point.name: point for point in entry_points(group=f"semfed.{group}")}


def load(group: str, name: str) -> Any:
    """Import the part that a name stands for.

    Parameters
    ----------
    group : str
        One of `GROUPS`.
    name : str
        The name of an entry point, or an explicit ``module:attribute``.

    Raises
    ------
    ScenarioError
        If there is no such part, or if it cannot be imported.
    """
    points = available(group)
    if name in points:
        target = points[name].value
    elif ":" in name:
        target = name
    else:
        raise ScenarioError(f"no plugin {name!r} among the {group}; {suggest(name, points)}")
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ScenarioError(f"plugin {name!r} of the {group} cannot be loaded from {target!r}: {error}") from error


@dataclass(frozen=True)
class Plugin:
    """A chosen part and its validated settings: what a table ``{name = ..., ...}`` of a scenario becomes."""

    group: str
    name: str
    settings: BaseModel

    @cached_property
    def identity(self) -> str:
        """Text that is equal for equal choices."""
        return str(self.dump())

    def load(self) -> Any:
        """Import the part itself (a class, as a rule)."""
        return load(self.group, self.name)

    def dump(self) -> dict[str, Any]:
        """Return the table that gives this choice again, defaults included."""
        return {"name": self.name, **self.settings.model_dump()}


def settings_of(part: Any) -> type[BaseModel]:
    """Return the settings model of a part: its ``Settings``, or else its constructor's keyword arguments.

    The second form is what lets a stock Flower strategy stand in a scenario as it is.
    """
    declared = getattr(part, "Settings", None)
    if isinstance(declared, type) and issubclass(declared, BaseModel):
        return declared
    fields: dict[str, Any] = {
        p.name: (Any, Field(default=p.default))
        for p in inspect.signature(part).parameters.values()
        if p.default is not p.empty and (p.default is None or isinstance(p.default, str | int | float | bool))
    }
    config = ConfigDict(protected_namespaces=())
    base = type("KeywordSettings", (StrictModel,), {"model_config": config, "__module__": __name__})
    return create_model(f"{part.__name__}Settings", __base__=base, **fields)


def parse(group: str, value: Any) -> Plugin:
    """Validate what a scenario says of a part: its name alone, or a table with ``name`` and its settings."""
    if isinstance(value, Plugin):
        return value
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        raise PydanticCustomError("plugin", "give a plugin's name, or a table with 'name' and its settings")
    rest = {key: item for key, item in table.items() if key != "name"}
    try:
        model = settings_of(load(group, table["name"]))
    except ScenarioError as error:
        raise PydanticCustomError("plugin", "{text}", {"text": str(error)}) from error
    return Plugin(group, table["name"], model.model_validate(rest))
