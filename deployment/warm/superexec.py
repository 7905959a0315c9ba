"""Runs ``flower-superexec`` beside a warm process, from which the processes of apps are forked.

    python superexec.py COMMAND OPTION...

SuperExec starts a command by its name, ``flwr-clientapp`` for every message and ``flwr-serverapp`` for every run, and
that imports PyTorch and Flower first: seconds of a core, for training of a tenth of one, and on a busy machine more
than Flower waits before it starts another. Here it finds a small program of that name (``bin/``), which asks the warm
process (``server.py``) to do the same. The options are those of ``flower-superexec``, and so is the exit status. If the
warm process dies, it is started again; until then Flower's own command is run, as ever.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

PROGRAM = "flower-superexec"
HERE = Path(__file__).resolve().parent
SOCKET = "SEMFED_WARM"
"""The environment variable that tells the program in ``bin/`` where the warm process listens."""
WARMING_S = 300.0
"""SuperExec waits as long for the warm process, so that no task comes before it."""
LONGEST_DELAY_S = 60
END_S = 10.0


class Warm:
    """The warm process, which ends when this one does, and can be started again.

    Parameters
    ----------
    command : str
        What it stands in for.
    socket : Path
        Where it listens once it is warm.
    """

    def __init__(self, command: str, socket: Path) -> None:
        self._command, self._socket, self._deaths = command, socket, 0
        self._theirs, self._lifeline = os.pipe()  # at its end once this process has ended, whatever the reason
        self.process = self._start(0)

    def _start(self, delay: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", HERE / "server.py", self._command, self._socket, str(self._theirs), str(delay)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[self._theirs])

    def await_ready(self) -> None:
        """Wait until it listens, has died or takes too long."""
        deadline = time.monotonic() + WARMING_S
        while not self._socket.exists() and self.process.poll() is None:
            if time.monotonic() > deadline:
                print(f"no warm process within {WARMING_S:g} s: Flower's own command is run", file=sys.stderr)
                return
            time.sleep(0.1)

    def start_again(self, status: int) -> None:
        """Take note of its death, and start another, later every time."""
        delay = min(2**self._deaths, LONGEST_DELAY_S)
        self._deaths += 1
        print(f"the warm process ended with {status}; another one is started after {delay} s", file=sys.stderr)
        self.process = self._start(delay)

    def end(self) -> None:
        """Let it end the processes that it forked, and itself."""
        os.close(self._lifeline)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        self.process.kill()
        self.process.wait()


def run(command: str, options: Sequence[str]) -> int:
    """Run SuperExec with these options, a command of Flower's being warm; return its exit status."""
    folder = Path(tempfile.mkdtemp(prefix="semfed-warm-"))
    warm = Warm(command, folder / "socket")
    try:
        warm.await_ready()
        if warm.process.returncode is not None:
            warm.start_again(warm.process.returncode)
        path = os.pathsep.join([str(HERE / "bin"), os.environ.get("PATH", os.defpath)])
        environment = {**os.environ, "PATH": path, SOCKET: str(folder / "socket")}
        process = subprocess.Popen([PROGRAM, *options, f"--parent-pid={os.getpid()}"], env=environment)

        def pass_on(number: int, frame: FrameType | None) -> None:
            os.kill(process.pid, number)  # Popen's own way might take its exit status away from os.wait

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, pass_on)
        while True:
            pid, status = os.wait()
            if pid == process.pid:
                return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            if pid == warm.process.pid:
                warm.start_again(os.waitstatus_to_exitcode(status))
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        warm.end()
        shutil.rmtree(folder)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(run(sys.argv[1], sys.argv[2:]))
