"""Look-up of the exchangeable parts: built-in or third-party, all by entry point or ``module:attribute``.

A distribution offers a part by an entry point in one of the groups ``semfed.strategies``, ``semfed.clients``,
``semfed.channels``, ``semfed.datasets``, ``semfed.partitions``, ``semfed.latents``, ``semfed.models``,
``semfed.metrics`` and ``semfed.callbacks``. Nothing else is ever imported on the word of a scenario or of a message.

What is no part of a group's own kind, such as any ``nn.Module`` for an encoder, becomes one by the group's adapter: the
entry point of the group's name in ``semfed.adapters``, a function from what was named to a part.
"""

import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property, lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from semfed.errors import ScenarioError
from semfed.scenario.settings import StrictModel, suggest

GROUPS = ("strategies", "clients", "channels", "datasets", "partitions", "latents", "models", "metrics", "callbacks")
DOES = {
    "strategies": "aggregate_train",
    "clients": "fit",
    "channels": "forward",
    "datasets": "read",
    "partitions": "deal",
    "latents": "encoder",
    "models": "build",
    "metrics": "judge",
}
"""The method without which a class is no part of a group: nothing else is made, or called, on a scenario's word."""
EXTRAS = {"flwr_datasets": "partitions", "torchmetrics": "metrics"}
"""Optional packages whose parts are taken by name, and what brings them."""
STOCK = "flwr.serverapp.strategy"
"""Where Flower's own strategies are defined: only they are made of their keyword arguments."""


@lru_cache(maxsize=len(GROUPS) + 1)
def available(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, one of each name; see `offers`.

    Parameters
    ----------
    group : str
        One of `GROUPS`, or ``"adapters"``.
    """
    return {point.name: point for point in offers(group)}


@lru_cache(maxsize=len(GROUPS) + 1)
def offers(group: str) -> tuple[EntryPoint, ...]:
    """Return all entry points of a group, also those of several packages by one name."""
    return tuple(entry_points(group=f"semfed.{group}"))


def package_of(point: EntryPoint) -> str:
    """Return name and version of the distribution that offers a part."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "?"


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
        If there is no such part, if it cannot be imported, or is none of the group's kind.
    """
    points = available(group)
    if name in points:
        _require_one(group, name)
        target = points[name].value
    elif all(name.partition(":")):
        target = name
    else:
        raise ScenarioError(
            f"no plugin {name!r} among the {group}; {suggest(name, points)}; a class of your own is 'module:Class'"
        )
    module, _, attribute = target.partition(":")
    try:
        part = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # whatever a module of somebody's raises while it is imported
        reason = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        package = module.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and package in EXTRAS:
            reason += f"; pip install 'semfed[{EXTRAS[package]}]'"
        elif isinstance(error, ModuleNotFoundError) and error.name == package:
            reason += "; put it beside the scenario file, or into a folder of PYTHONPATH"
        elif isinstance(error, AttributeError) and module in sys.modules:
            close = get_close_matches(attribute, vars(sys.modules[module]), n=1)
            reason += f"; did you mean {close[0]!r}?" if close else ""
        raise ScenarioError(f"plugin {name!r} of the {group} cannot be loaded from {target!r}: {reason}") from error
    if inspect.isabstract(part):
        missing = ", ".join(sorted(part.__abstractmethods__))
        raise ScenarioError(f"plugin {name!r} of the {group} is abstract: write its {missing}")
    adapter = available("adapters").get(group)
    found = part if adapter is None else _loaded(adapter)(part)
    if group in DOES and not callable(getattr(found, DOES[group], None)):
        raise ScenarioError(f"plugin {name!r} is none of the {group}: it has no method {DOES[group]}()")
    return found


@lru_cache(maxsize=len(GROUPS))
def _loaded(adapter: EntryPoint) -> Callable[[Any], Any]:
    made: Callable[[Any], Any] = adapter.load()
    return made


def sound(group: str) -> dict[str, Any]:
    """Return the parts of a group that can be loaded, by name: what others have broken is their affair."""
    found: dict[str, Any] = {}
    for name in available(group):
        with suppress(ScenarioError):
            found[name] = load(group, name)
    return found


def _require_one(group: str, name: str) -> None:
    """Refuse a name that two packages have given to a part of theirs."""
    points = [point for point in offers(group) if point.name == name]
    if len(points) > 1:  # whose packages are looked up in their metadata, which takes its time
        packages = " and by ".join(sorted(map(package_of, points)))
        raise ScenarioError(
            f"plugin {name!r} of the {group} is offered by {packages}: uninstall one of them, or name the part by "
            "'module:attribute'"
        )


def search_in(folder: Path) -> None:
    """Let ``module:attribute`` be found in a folder, a scenario's own, after all places where Python looks anyway."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


@dataclass(frozen=True)
class Plugin:
    """A chosen part and its validated settings: what a table ``{name = ..., ...}`` of a scenario becomes."""

    group: str
    name: str
    settings: Any
    """Of the part's own model, which only those know who use the part."""

    def __hash__(self) -> int:
        """Let a choice be a key, or a part of one, of what is kept for equal choices."""
        return hash(self._text)

    @cached_property
    def _text(self) -> str:
        """Written once, since a hash is asked for often; a kept hash itself would be wrong in another process."""
        return str(self.dump())

    def load(self) -> Any:
        """Import the part itself (a class, as a rule)."""
        return load(self.group, self.name)

    def make(self, *context: Any) -> Any:
        """Construct the part of its settings and of what else its kind is given; of keywords, where it declares none.

        Examples
        --------
        >>> parse("channels", {"name": "awgn", "snr_db": 20.0}).make().settings.noise_std
        0.1
        """
        if isinstance(self.settings, KeywordSettings):
            return self.load()(*context, **self.settings.model_dump())
        return self.load()(self.settings, *context)

    def amended(self, **values: Any) -> Self:
        """Return the same part chosen with other values of some settings.

        Raises
        ------
        pydantic.ValidationError
            If they are not valid.
        """
        return replace(self, settings=self.settings.model_copy(update=values))

    def dump(self) -> dict[str, Any]:
        """Return the table that gives this choice again, defaults included."""
        return {"name": self.name, **self.settings.model_dump()}


class KeywordSettings(StrictModel):
    """Keyword arguments of a class that declares no settings."""

    model_config = ConfigDict(protected_namespaces=())
    constructs: ClassVar[type | None] = None
    """A stock strategy, which is made of them."""

    @model_validator(mode="after")
    def _try(self) -> Self:
        """Let the class itself judge its arguments, so that what it refuses is refused before anything runs."""
        if self.constructs is None:
            return self
        log = logging.getLogger("flwr")
        level = log.level
        log.setLevel(logging.ERROR)  # it will be made again, and say then what it has to say
        try:
            self.constructs(**self.model_dump())
        except Exception as error:
            name = self.constructs.__name__
            raise ValueError(f"{name} refuses its arguments ({type(error).__name__}: {error})") from error
        finally:
            log.setLevel(level)
        return self


def settings_of(part: Any) -> type[BaseModel]:
    """Return the settings model of a part: its ``Settings``, or else its constructor's keyword arguments.

    The second form is what lets a stock Flower strategy, which is made of them alone, stand in a scenario as it is.

    Raises
    ------
    ScenarioError
        If it is no class, or a stock strategy that needs an argument which no scenario can hold.
    """
    declared = getattr(part, "Settings", None)
    if isinstance(declared, type) and issubclass(declared, BaseModel):
        return declared
    if not isinstance(part, type):
        raise ScenarioError(f"{part!r} is not a class, so it has no settings")
    return _keyword_settings(part)


@lru_cache(maxsize=64)
def _keyword_settings(part: type) -> type[BaseModel]:
    """Make a model of keyword arguments, always the same one: settings of different models are never equal."""
    stock = any(base.__module__.startswith(STOCK) for base in part.__mro__)
    fields: dict[str, Any] = {}
    for p in _parameters(part):
        kind, required = _kind(p), p.default is p.empty
        if stock and required and kind is None:
            raise ScenarioError(f"{part.__name__} needs {p.name!r}, which no scenario can hold: wrap it in a class")
        if kind is not None and (stock or not required):
            fields[p.name] = (kind, ... if required else Field(default=p.default))
    base: type[StrictModel] = KeywordSettings
    if stock:
        base = type("KeywordSettings", (KeywordSettings,), {"constructs": part, "__module__": __name__})
    return create_model(f"{part.__name__}Settings", __base__=base, **fields)


def _parameters(part: type) -> Iterable[inspect.Parameter]:
    try:
        signature = inspect.signature(part, eval_str=True)
    except NameError:  # an annotation of type checkers alone
        signature = inspect.signature(part)
    spread = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [parameter for parameter in signature.parameters.values() if parameter.kind not in spread]


def _kind(parameter: inspect.Parameter) -> Any:
    """Return the type of a keyword argument as a field, None if no value in TOML has it."""
    name, hint = parameter.name, parameter.annotation
    if hint is parameter.empty or isinstance(hint, str):
        hint = Any if parameter.default in (None, parameter.empty) else type(parameter.default)
    if hint is Any:
        return hint
    kinds = set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}
    plain = kinds & {str, int, float, bool}
    if not plain:
        return None
    kind: Any = Union[tuple(sorted(kinds & {*plain, NoneType}, key=str))]  # noqa: UP007  # made of a set
    if name.startswith("fraction_"):  # Flower takes any, and samples more nodes than there are
        return Annotated[kind, Field(ge=0, le=1)]
    return Annotated[kind, Field(ge=0)] if name.startswith(("min_", "num_")) else kind


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
