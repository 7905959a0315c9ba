"""Classes and factories of other libraries: their keyword arguments as settings, and what is made of them.

Nothing of such a part is known but its signature. Names and plain types are checked against it when a scenario is read;
the rest is the part's own to judge, before training, when it is made for a trial.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import ConfigDict, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from semfed.errors import ScenarioError
from semfed.scenario.settings import StrictModel

T = TypeVar("T")
PLAIN = (str, int, float, bool, NoneType)
NONE = "none"
"""Stands for Python's None, which no file can hold."""


class ForeignSettings(StrictModel):
    """What an adapter asks for, beside the part's own keyword arguments; see `settings_for`.

    Attributes
    ----------
    both : frozenset of str
        Settings of the adapter's that are meant for the part where it has an argument of that name.
    told : frozenset of str
        Those of them that this part has.
    filled : frozenset of str
        Arguments that the adapter itself gives.
    optional : frozenset of str
        Arguments that may be None by their type or default, so that "none" stands for it.
    """

    model_config = ConfigDict(protected_namespaces=(), allow_inf_nan=True)
    both: ClassVar[frozenset[str]] = frozenset()
    told: ClassVar[frozenset[str]] = frozenset()
    filled: ClassVar[frozenset[str]] = frozenset()
    optional: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _refuse_filled(cls, value: Any) -> Any:
        """Refuse what the adapter gives anyway, also where a part takes any name by ``**kwargs``."""
        for key in value if isinstance(value, dict) else ():
            if key in cls.filled - cls.model_fields.keys():
                raise PydanticCustomError(
                    "filled_setting", "unknown setting '{key}': it is filled in here; leave it out", {"key": str(key)}
                )
        return value


class ForeignArguments(StrictModel):
    """Keyword arguments whose names the adapter has settings of: they stand in a table ``arguments``."""

    model_config = ConfigDict(protected_namespaces=(), allow_inf_nan=True)


@lru_cache(maxsize=256)
def settings_for(part: Callable[..., Any], base: type[ForeignSettings]) -> type[ForeignSettings]:
    """Return an adapter's settings with the keyword arguments of a part, always the same class for the same two.

    Arguments whose names `base` uses are in a table ``arguments``. Names that a part takes by ``**kwargs`` are passed
    on as they are.

    Raises
    ------
    ScenarioError
        If it has an argument that cannot be given by name and has no default.
    """
    own: dict[str, Any] = {}
    hidden: dict[str, Any] = {}
    parameters = list(_signature(part).parameters.values())
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in base.filled:
            continue
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.POSITIONAL_ONLY:
            if required:
                raise ScenarioError(
                    f"{name_of(part)} takes {parameter.name!r} by its position alone: wrap it in a class"
                )
            continue
        default = ... if required else Field(default=parameter.default if _is_plain(parameter.default) else None)
        name, hint = parameter.name, _hint(parameter)
        if name in base.both:
            own[name] = (base.model_fields[name].rebuild_annotation() | None, default)
        else:
            (hidden if name in base.model_fields or hasattr(base, name) else own)[name] = (hint, default)
    if hidden:
        inner = create_model(
            f"{part.__name__}Arguments", __base__=ForeignArguments, __module__=part.__module__, **hidden
        )
        needed = any(field.is_required() for field in inner.model_fields.values())
        own["arguments"] = (inner, ... if needed else Field(default=inner()))
    model = create_model(f"{part.__name__}Settings", __base__=base, __module__=part.__module__, **own)
    model.told = base.both & own.keys()
    model.optional = frozenset(parameter.name for parameter in parameters if _may_be_none(parameter))
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        model.model_config = ConfigDict(**{**model.model_config, "extra": "allow"})
        model.model_rebuild(force=True)
    return model


def keywords(settings: ForeignSettings, base: type[ForeignSettings]) -> dict[str, Any]:
    """Return the keyword arguments that settings of `settings_for` stand for; an unset one is left to the part.

    Examples
    --------
    >>> def part(width, dropout=0.1, weights=None, mode="x"): ...
    >>> model = settings_for(part, ForeignSettings)
    >>> keywords(model(width=3, weights="none", mode="none"), ForeignSettings)
    {'width': 3, 'dropout': 0.1, 'weights': None, 'mode': 'none'}
    """
    names = (type(settings).model_fields.keys() - base.model_fields.keys()) | settings.told
    given = {key: getattr(settings, key) for key in type(settings).model_fields if key in names}
    inner = given.pop("arguments", None)
    if isinstance(inner, ForeignArguments):
        given |= {key: getattr(inner, key) for key in type(inner).model_fields}
    elif inner is not None:  # the part's own argument has this name
        given["arguments"] = inner
    given |= settings.model_extra or {}
    return {
        key: None if value == NONE and key in settings.optional else value
        for key, value in given.items()
        if value is not None
    }


def construct(part: Callable[..., Any], arguments: Mapping[str, Any], kind: type[T]) -> T:
    """Make a part of its keyword arguments.

    Raises
    ------
    ScenarioError
        With what the part itself says against them, or if what it makes is no `kind`.
    """
    try:
        made = part(**arguments)
    except ScenarioError:
        raise
    except Exception as error:
        raise ScenarioError(f"{name_of(part)} refuses its arguments ({reason(error)}): change them") from error
    if not isinstance(made, kind):
        raise ScenarioError(f"{name_of(part)} makes a {type(made).__name__}, which is no {kind.__name__}: name another")
    return made


def adapted(part: Any, base: type[T], settings: type[ForeignSettings], **attributes: Any) -> type[T]:
    """Return a class for one part: an adapter with the part's arguments as its settings.

    It is taken for one of the part's module, so that whoever asks where its code is finds the part's.

    Parameters
    ----------
    part : callable
        A class, or a function, that is called with keyword arguments.
    base : type
        The adapter.
    settings : type
        What the adapter asks for beside them; see `settings_for`.
    **attributes
        Of the class, further ones.

    Raises
    ------
    ScenarioError
        If the part has an argument that no scenario can give.
    """
    own = {"part": staticmethod(part), "Settings": settings_for(part, settings), "__module__": part.__module__}
    return type(f"Foreign{part.__name__}", (base,), own | attributes)


def takes(part: Callable[..., Any], name: str) -> bool:
    """Whether a part has an argument, or, by its ``**kwargs``, the classes that it is made of.

    Examples
    --------
    >>> class Base:
    ...     def __init__(self, root, train=True): ...
    >>> class Derived(Base):
    ...     def __init__(self, root, kind, **kwargs): super().__init__(root, **kwargs)
    >>> takes(Derived, "kind"), takes(Derived, "train"), takes(Derived, "download")
    (True, True, False)
    """
    bases = part.__mro__[1:] if isinstance(part, type) else ()
    for function in (part, *(vars(base)["__init__"] for base in bases if "__init__" in vars(base))):
        parameters = inspect.signature(function).parameters
        if name in parameters:
            return True
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
            return False
    return False


def is_foreign(part: Any, kind: type, native: str) -> bool:
    """Whether a part is another library's: a class of that kind without our attribute, or a factory of such.

    A function has to say what it returns, so that no scenario can have anything else called than what makes parts.

    Raises
    ------
    ScenarioError
        If a function does not.
    """
    if isinstance(part, type):
        return issubclass(part, kind) and not hasattr(part, native)
    if not inspect.isfunction(part):
        return False
    made = _signature(part).return_annotation
    if not (isinstance(made, type) and issubclass(made, kind)):
        raise ScenarioError(
            f"{name_of(part)} does not say that it makes a {kind.__name__}: annotate what it returns, or name a class"
        )
    return True


def name_of(part: Any) -> str:
    """Return how a part is called in messages."""
    return f"'{part.__module__}:{part.__qualname__}'"


def reason(error: Exception) -> str:
    """Return the type and the first line of an exception's text."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _signature(part: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(part, eval_str=True)
    except (NameError, TypeError):  # an annotation of type checkers alone
        return inspect.signature(part)


def _hint(parameter: inspect.Parameter) -> Any:
    """Return the type of an argument where a file can hold it, with "none" where it may be None; else anything."""
    hint = parameter.annotation
    if hint is parameter.empty or isinstance(hint, str) or not _is_plain_type(hint):
        return Any
    return Union[hint, None, Literal["none"]] if _may_be_none(parameter) else hint  # noqa: UP007  # of a value


def _may_be_none(parameter: inspect.Parameter) -> bool:
    return parameter.default is None or NoneType in (parameter.annotation, *get_args(parameter.annotation))


def _is_plain_type(hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return all(isinstance(value, PLAIN) for value in get_args(hint))
    if get_origin(hint) in (Union, UnionType, tuple, list):
        return all(inner is ... or _is_plain_type(inner) for inner in get_args(hint))
    return hint in PLAIN


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return type(value) in PLAIN
