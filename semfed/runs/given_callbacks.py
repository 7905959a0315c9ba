"""Callbacks that are named on the command line, as ``module:attribute``."""

from collections.abc import Iterable
from pathlib import Path

from semfed.errors import ScenarioError
from semfed.events.callbacks import Callback
from semfed.scenario import plugins


def resolve(given: object) -> list[Callback]:
    """Return callbacks: those that are given as objects, and those that are named.

    A name stands for a callback, or for a class or function that makes one without arguments. It is looked for where
    Python looks, beside the scenario file, and in the working directory.

    Parameters
    ----------
    given : iterable of Callback or str

    Raises
    ------
    ScenarioError
        If one is neither, or a name stands for something else.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ScenarioError(
            f"callbacks = {given!r}: give several objects of semfed.events.callbacks.Callback, or names of such"
        )
    return [_named(one) if isinstance(one, str) else _checked(one, repr(one)) for one in given]


def _named(name: str) -> Callback:
    if not all(name.partition(":")):
        raise ScenarioError(f"callback {name!r}: write it as module:attribute")
    plugins.search_in(Path.cwd())
    found = plugins.load("callbacks", name)
    if not isinstance(found, Callback) and callable(found):
        try:
            found = found()
        except Exception as error:  # of somebody's class, which may want arguments
            raise ScenarioError(
                f"callback {name!r} cannot be made without arguments ({type(error).__name__}: {error}): name an "
                "object, or a function that makes one"
            ) from error
    return _checked(found, repr(name))


def _checked(one: object, shown: str) -> Callback:
    if isinstance(one, type) and issubclass(one, Callback):
        raise ScenarioError(f"callback {one.__qualname__} is a class: give an object of it, {one.__qualname__}()")
    if not isinstance(one, Callback):
        raise ScenarioError(
            f"callback {shown} is no semfed.events.callbacks.Callback, but of type {type(one).__name__}: derive its "
            "class from it"
        )
    return one
