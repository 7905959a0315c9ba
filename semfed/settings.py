"""Strict, frozen settings: the base of every table of a scenario, of a plugin's own options too."""

import difflib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cached_property
from inspect import getattr_static
from reprlib import Repr
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError


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
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, ser_json_inf_nan="constants"
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

    def refuse_changed(self, *names: str, because: str, use: str, table: str = "") -> None:
        """Refuse fields that are not at their default, where another field takes their effect away.

        Parameters
        ----------
        *names : str
        because, use : str
            The other field with its value, and with a value that would do.
        table : str, optional
            Where the fields stand, seen from the other one.

        Raises
        ------
        ValueError
            Names the field, its value, the reason and the remedy.
        """
        for name in names:
            value = getattr(self, name)
            if value != type(self).model_fields[name].get_default():
                where = f"{table}.{name}" if table else name
                raise ValueError(
                    f"{where} = {value!r} has no effect with {because}; "
                    f"remove it, give it to the arms that use it, or set {use}"
                )


_SHORT = Repr()
_SHORT.maxstring = 100


def explain(error: ValidationError) -> str:
    """One line per field: its dotted name, the value it has, and what is wrong with it."""
    found: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False):
        # Pydantic names the members of a union, such as "tuple[int, ...]", in the place of a field.
        where = ".".join(str(part) for part in problem["loc"] if "[" not in str(part))
        value = problem.get("input")
        shown = f" = {_SHORT.repr(value)}" if isinstance(value, str | int | float | bool) else ""
        message = problem["msg"].removeprefix("Value error, ")
        found.setdefault(f"{where}{shown}" if where else "", []).append(message)
    return "\n".join(
        f"{where}: {', or: '.join(messages)}" if where else "\n".join(messages) for where, messages in found.items()
    )
