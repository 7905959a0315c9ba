"""Spans: the code says what it is doing, and whoever listens in this context hears when it begins and ends.

A function is marked by a decorator, ``@span("training")``; a generator's time is that in which it makes its items, not
that of whoever uses them. Any other stretch is a ``with span("training"):``. Where nobody listens, which is the rule, a
marked function costs a look at a context variable more.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import isgeneratorfunction
from types import TracebackType
from typing import Any, Protocol, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


class Listener(Protocol):
    """Hears of spans, which are nested."""

    def enter(self, part: str) -> None:
        """Hear that a span begins."""

    def leave(self) -> None:
        """Hear that the span that began last is over."""


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let a listener hear of all spans of this context, and no longer afterwards; one context has one at a time."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


class span:
    """A stretch of the code that is for one thing.

    Parameters
    ----------
    part : str
        What it is for.

    Examples
    --------
    >>> @span("training")
    ... def fit():
    ...     return "fitted"
    >>> class Printer:
    ...     def enter(self, part):
    ...         print(part, "begins")
    ...     def leave(self):
    ...         print("over")
    >>> with listening(Printer()):
    ...     fit()
    training begins
    over
    'fitted'
    """

    __slots__ = ("part",)

    def __init__(self, part: str) -> None:
        self.part = part

    def __enter__(self) -> None:
        listener = _LISTENER.get()
        if listener is not None:
            listener.enter(self.part)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        listener = _LISTENER.get()
        if listener is not None:
            listener.leave()

    def __call__(self, function: Function) -> Function:
        """Mark a function, or a generator function."""
        makes_items = isgeneratorfunction(function)

        @wraps(function)
        def marked(*args: Any, **kwargs: Any) -> Any:
            if _LISTENER.get() is None:
                return function(*args, **kwargs)
            if makes_items:
                return self._each(function(*args, **kwargs))
            with self:
                return function(*args, **kwargs)

        return cast(Function, marked)

    def _each(self, items: Generator[Any, None, None]) -> Iterator[Any]:
        nothing = object()
        while True:
            with self:
                item = next(items, nothing)
            if item is nothing:
                return
            yield item
