"""A process that stands between this one and a family of others, and ends them all with itself.

    python -m semfed.engine.guardian COMMAND [ARGUMENT ...]

The command runs until it ends, until the guardian is asked to end, or until the guardian's standard input is at its
end: that of a pipe is when the process that holds its other end dies, by SIGKILL too. Then every process that the
command has started ends, whatever session or group it made for itself: on Linux the guardian adopts those whose own
parents have gone.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import psutil

END_S = 10.0
"""How long processes have to end by themselves after SIGTERM."""
ADOPT_ORPHANS = 36
"""PR_SET_CHILD_SUBREAPER of Linux's prctl(2)."""


def guard(command: list[str]) -> int:
    """Run a command until its time has come; return its exit status, or 0 if it was ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 1, 0, 0, 0)
    over = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        over.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    # Nobody else reads the pipe: a child that held it open would not matter, one that read from it would.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    for wait in (lambda: os.read(sys.stdin.fileno(), 1), process.wait):
        threading.Thread(target=_then, args=(wait, over), daemon=True).start()
    over.wait()
    status = process.poll()
    end_family()
    return status or 0


def _then(wait: Callable[[], object], over: threading.Event) -> None:
    wait()
    over.set()


def end_family() -> None:
    """End all children of this process and theirs: first by request, then by force."""
    for kill in (False, True):
        members = psutil.Process().children(recursive=True)
        for member in members:
            with suppress(psutil.NoSuchProcess):
                (member.kill if kill else member.terminate)()
        psutil.wait_procs(members, timeout=END_S)


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
