"""Ctrl-C, SIGTERM and SIGHUP that are not lost."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from semfed.events.callbacks import Callback

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C; what SLURM, ``timeout`` and container engines send; what a terminal sends that goes away."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end by a signal other than Ctrl-C's.

    Parameters
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_code(error: KeyboardInterrupt) -> int:
    """Return what a process that an interruption ends tells its parent: 128 and the signal's number.

    Examples
    --------
    >>> exit_code(KeyboardInterrupt()), exit_code(Terminated(signal.SIGTERM))
    (130, 143)
    """
    return 128 + (error.number if isinstance(error, Terminated) else signal.SIGINT)


class Interruption(Callback):
    """Sees to it that a signal ends a run as an interruption, wherever the main thread is: a context and a callback.

    Python raises ``KeyboardInterrupt`` between any two instructions. In a finalizer or the callback of a weak reference
    it is printed and forgotten, and code in between may turn it into an error of its own (pydantic's serialiser does).
    So the request is remembered: the round under way is the last one, and what ends the run is a ``KeyboardInterrupt``,
    of the kind `Terminated` for SIGTERM and SIGHUP.

    It does nothing outside the main thread, or where somebody else handles Ctrl-C, as Flower's processes do. A signal
    that the process was told to ignore, as ``nohup`` does with SIGHUP, stays ignored. One may be inside another.
    """

    def __init__(self) -> None:
        self._asked: KeyboardInterrupt | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        handler = signal.getsignal(signal.SIGINT)
        free = handler is signal.default_int_handler or isinstance(getattr(handler, "__self__", None), Interruption)
        if free and threading.current_thread() is threading.main_thread():
            self._before = {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN}
            for number in self._before:
                signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back; say that it was an interruption if an error came after one."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._asked is not None and isinstance(error, Exception):
            raise self._asked from error

    def on_round(self, *_: object) -> None:
        """End the run if it goes on although it was interrupted."""
        if self._asked is not None:
            raise self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
        raise self._asked
