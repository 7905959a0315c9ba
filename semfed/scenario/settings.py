"""Strict, frozen settings: the base of every table of a scenario, of a plugin's own options too."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from inspect import getattr_static
from reprlib import Repr
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

Decibel = Annotated[float, Field(ge=-200.0, allow_inf_nan=True)]
"""A ratio in dB, ``inf`` for no noise; at -200 dB noise has 10^10 times the signal's amplitude."""
Keys = tuple[str, ...]
"""A path through tables; members of a list of tables go by their names."""


def suggest(name: str, valid: Iterable[str]) -> str:
    """Say which valid name is meant, or which ones there are.

    Examples
    --------
    >>> suggest("snr_bd", ["snr_db", "symbols"])
    "did you mean 'snr_db'?"
    >>> suggest("x", ["snr_db", "symbols"])
    "valid names: 'snr_db', 'symbols'"
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "valid names: " + ", ".join(repr(n) for n in names) if names else "there are none"


class StrictModel(BaseModel):
    """A table of settings in which an unknown key is an error that names the nearest valid one.

    What follows from settings is a property, computed anew whenever it is asked for: a cached one would outlive the
    values it was made from when a copy gets others.

    Raises
    ------
    TypeError
        From the definition of a subclass with a `functools.cached_property`.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
        use_attribute_docstrings=True,  # the text below a field is its description, in the reference and in schemas
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse cached properties, inherited ones too."""
        super().__pydantic_init_subclass__(**kwargs)
        for name in dir(cls):
            if isinstance(getattr_static(cls, name), cached_property):
                raise TypeError(f"{cls.__qualname__}.{name} is a cached property of settings: make it a property")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, perhaps with other values, validated like settings that a scenario gives.

        Raises
        ------
        pydantic.ValidationError
            If the other values are not valid.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return self.model_validate((deepcopy(given) if deep else given) | dict(update or {}))

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, value: Any) -> Any:
        if isinstance(value, dict) and cls.model_config.get("extra") == "forbid":
            for key in value:
                if key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_setting",
                        "unknown setting '{key}'; {hint}",
                        {"key": str(key), "hint": suggest(str(key), cls.model_fields)},
                    )
        return value


_SHORT = Repr()
_SHORT.maxstring = 100
_PLAIN = {
    "missing": "missing; give it a value",
    "tuple_type": "has to be a list, [...]",
    "list_type": "has to be a list, [...]",
}
"""What pydantic would say in Python's words, by its kinds of errors."""


def explain(error: ValidationError) -> str:
    """One line per field: its dotted name, the value it has, and what is wrong with it."""
    found: dict[str, list[str]] = {}
    problems = error.errors(include_url=False)
    deeper = {problem["loc"][:count] for problem in problems for count in range(len(problem["loc"]))}
    for problem in problems:
        if problem["type"] == "too_short" and problem["loc"] in deeper:
            continue  # what is wrong with its members has been said
        # Pydantic names the members of a union, such as "tuple[int, ...]", in the place of a field.
        where = ".".join(str(part) for part in problem["loc"] if "[" not in str(part))
        value = problem.get("input")
        shown = f" = {_SHORT.repr(value)}" if isinstance(value, str | int | float | bool) else ""
        message = _PLAIN.get(problem["type"], problem["msg"]).removeprefix("Value error, ")
        found.setdefault(f"{where}{shown}" if where else "", []).append(message)
    return "\n".join(
        f"{where}: {', or: '.join(messages)}" if where else "\n".join(messages) for where, messages in found.items()
    )


@dataclass(frozen=True)
class OnlyWhen:
    """Annotation of a field that has an effect only with certain values of other fields of its table.

    Attributes
    ----------
    conditions : mapping of str to tuple
        By field, the values with which it has one.
    """

    conditions: Mapping[str, tuple[Any, ...]]

    def holds(self, table: "StrictModel") -> bool:
        """Whether the field has an effect in this table."""
        return all(getattr(table, name) in values for name, values in self.conditions.items())

    def reason(self, table: "StrictModel") -> str:
        """Say what would have to be otherwise."""
        unmet = [(name, values) for name, values in self.conditions.items() if getattr(table, name) not in values]
        return " and ".join(
            f"it belongs to {name} = {' or '.join(_toml(value) for value in values)}, "
            f"and {name} is {_toml(getattr(table, name))}"
            for name, values in unmet
        )


def only_when(**conditions: Any) -> OnlyWhen:
    """Declare when a field has an effect: values of other fields, a tuple where there are several.

    Examples
    --------
    >>> only_when(optimizer="sgd").conditions
    {'optimizer': ('sgd',)}
    """
    return OnlyWhen({name: value if isinstance(value, tuple) else (value,) for name, value in conditions.items()})


def _toml(value: Any) -> str:
    if value is None:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def tables(value: Any, path: Keys = ()) -> Iterator[tuple[Keys, StrictModel]]:
    """Yield all tables of settings inside a value, those of chosen plugins too, with their paths."""
    if value is None or isinstance(value, str | int | float):  # nearly all of them
        return
    if isinstance(value, StrictModel):
        yield path, value
        for name in type(value).model_fields:
            yield from tables(getattr(value, name), (*path, name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tables(item, (*path, str(key)))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from tables(item, (*path, str(getattr(item, "name", index))))
    elif hasattr(value, "settings"):  # a plugin
        yield from tables(value.settings, path)
