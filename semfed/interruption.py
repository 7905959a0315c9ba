"""Ctrl-C that is not lost."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from semfed.callbacks import Callback


class Interruption(Callback):
    """Sees to it that Ctrl-C ends a run as an interruption, wherever the main thread is: a context and a callback.

    Python raises ``KeyboardInterrupt`` between any two instructions. In a finalizer or the callback of a weak reference
    it is printed and forgotten, and code in between may turn it into an error of its own (pydantic's serialiser does).
    So the request is remembered: the round under way is the last one, and what ends the run is a ``KeyboardInterrupt``.

    It does nothing outside the main thread, or where somebody else handles the signal, as Flower's processes do.
    """

    def __init__(self) -> None:
        self._asked = self._installed = False

    def __enter__(self) -> Self:
        """Take the signal over from Python."""
        in_main = threading.current_thread() is threading.main_thread()
        self._installed = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signal back; say that it was an interruption if an error came after one."""
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._asked and isinstance(error, Exception):
            raise KeyboardInterrupt from error

    def on_round(self, *_: object) -> None:
        """End the run if it goes on although it was interrupted."""
        if self._asked:
            raise KeyboardInterrupt

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        raise KeyboardInterrupt
