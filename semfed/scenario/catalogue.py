"""What there is to choose from: parts with their packages, and what a user can tell each of them."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from semfed.errors import ScenarioError
from semfed.scenario import plugins
from semfed.scenario.settings import suggest


@dataclass(frozen=True)
class Entry:
    """A part that a package offers.

    Attributes
    ----------
    group, name, target, package : str
        As in ``channels``, ``awgn``, ``semfed.channels.awgn:AWGN``, ``semfed 0.1.0``.
    text : str
        First line of its docstring.
    problem : str
        Why it cannot be used; empty for a sound one.
    settings : type of BaseModel or None
        None where it declares none, or cannot be used.
    """

    group: str
    name: str
    target: str
    package: str
    text: str = ""
    problem: str = ""
    settings: type[BaseModel] | None = None


@dataclass(frozen=True)
class Setting:
    """One setting of a part: what a table of a scenario may hold.

    Attributes
    ----------
    name, kind, default, text : str
        The default is empty where a value has to be given.
    """

    name: str
    kind: str
    default: str
    text: str


def entries(name: str | None = None, group: str | None = None) -> list[Entry]:
    """Return what packages offer; a broken part is told of in its entry.

    Parameters
    ----------
    name, group : str, optional
        Only these.

    Raises
    ------
    ScenarioError
        If there is no such group or name, or a part is broken that is asked for by its name.
    """
    if group is not None and group not in plugins.GROUPS:
        raise ScenarioError(f"there is no group {group!r} of parts; {suggest(group, plugins.GROUPS)}")
    groups = plugins.GROUPS if group is None else (group,)
    points = [(own, point) for own in groups for point in sorted(plugins.offers(own), key=lambda point: point.name)]
    if name is None:
        return [_entry(own, point) for own, point in points]
    found = [_entry(own, point) for own, point in points if point.name == name]
    if not found:
        among = f" among the {group}" if group else ""
        raise ScenarioError(f"no plugin {name!r}{among}; {suggest(name, {point.name for _, point in points})}")
    for entry in found:
        if entry.problem:
            raise ScenarioError(entry.problem)
    return found


def _entry(group: str, point: EntryPoint) -> Entry:
    entry = Entry(group, point.name, point.value, plugins.package_of(point))
    try:
        part = plugins.load(group, point.name)
    except ScenarioError as error:
        return replace(entry, problem=str(error))
    return replace(entry, text=(inspect.getdoc(part) or "").partition("\n")[0], settings=settings_model(part))


def settings_model(part: Any) -> type[BaseModel] | None:
    """Return the settings of a part, None where a scenario can tell it nothing."""
    try:
        model = plugins.settings_of(part)
    except ScenarioError:
        return None
    return model if model.model_fields else None


def described(model: type[BaseModel]) -> Iterator[Setting]:
    """Yield the settings of a model in their order."""
    for name, field in model.model_fields.items():
        default = "" if field.is_required() else _toml(field.get_default(call_default_factory=True))
        yield Setting(name, _kind(field.annotation), default, " ".join((field.description or "").split()))


WORDS = {str: "text", int: "integer", float: "number", bool: "true or false", NoneType: "unset"}


def _kind(hint: Any) -> str:
    """Return what values of a type are, as one reads it."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return " or ".join(_toml(value) for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_kind(kind) for kind in inner if kind is not NoneType)
    if origin in (tuple, list):
        kinds = dict.fromkeys(_kind(kind) for kind in inner if kind is not Ellipsis)
        return f"list of {' or '.join(kinds)}"
    if hint is plugins.Plugin:
        return "a part"
    return WORDS.get(hint, "anything" if hint is Any else "table")


def _toml(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, plugins.Plugin):
        return repr(value.name)
    if isinstance(value, BaseModel):
        return "{}"
    return f"{value:g}" if isinstance(value, float) else repr(value)
