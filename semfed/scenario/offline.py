"""No look at the network while a part of another library is made, unless that has been allowed."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_this_thread = threading.local()
_EVENTS = frozenset({"urllib.Request", "http.client.connect", "socket.getaddrinfo", "socket.connect"})
"""Of Python's audit: what every Python library raises before it asks another machine."""


class WouldFetch(Exception):
    """Something would be fetched that nobody has allowed; its text is the address."""


class _Wanted(BaseException):
    """What would be fetched; no library takes it for an error of the network, which it might hide."""


@contextmanager
def offline(*, allowed: bool = False) -> Iterator[None]:
    """Let nothing be fetched in this thread, unless it is `allowed`.

    Raises
    ------
    WouldFetch
        When something would be.
    """
    if allowed:
        yield
        return
    _watch()
    before = getattr(_this_thread, "offline", False)
    _this_thread.offline = True
    try:
        yield
    except _Wanted as wanted:
        raise WouldFetch(str(wanted)) from None
    finally:
        _this_thread.offline = before


@cache
def _watch() -> None:
    """Begin to listen: an audit hook is for the life of a process."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _EVENTS and getattr(_this_thread, "offline", False):
        named = arguments[0] if event in ("urllib.Request", "socket.getaddrinfo") else arguments[1]
        raise _Wanted(named)
