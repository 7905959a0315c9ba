"""The warm process: has imported what a command of Flower's needs, and forks a process for every call of it.

    python -P server.py COMMAND SOCKET LIFELINE DELAY

It has one thread and has not touched a GPU, or a fork of it would be no sound process; it never works on a message
itself, so nothing of one can reach another, and its memory does not grow. It listens on the Unix socket once it is warm
and ends when the file descriptor LIFELINE is at its end.
"""

import atexit
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import distribution, entry_points
from pathlib import Path

PROJECT = "semfed"
IMPORTED = {
    "flwr-clientapp": (
        "semfed.flower.client_app",
        "httpcore",  # by Flower's first request
        "torch.fx.experimental.symbolic_shapes",  # by backward passes from given gradients; it brings in SymPy
    ),
    "flwr-serverapp": ("semfed.flower.server_app",),
}
"""By the command; besides, all plugins of the project."""
LINGER_S = {"flwr-clientapp": 0.3}
"""A SuperNode has a process started for a message that it has not fetched yet; who comes sooner waits for a second."""
END_S = 3.0
READY = b"!"


@dataclass(frozen=True)
class Request:
    """What the program in ``bin/`` was started with."""

    arguments: Sequence[str]
    environment: dict[bytes, bytes]
    folder: bytes

    @staticmethod
    def parse(data: bytes) -> "Request":
        """Read what the program in ``bin/`` wrote."""
        folder, count, *words = data.split(b"\0")
        arguments, variables = words[: int(count)], words[int(count) :]
        pairs = (variable.partition(b"=")[::2] for variable in variables)
        return Request([os.fsdecode(word) for word in arguments], dict(pairs), folder)


def warm_up(name: str) -> Callable[[], int]:
    """Import what a command will need, the project's plugins too; return what it runs."""
    plugins = [entry.module for entry in distribution(PROJECT).entry_points if entry.group.startswith(f"{PROJECT}.")]
    for module in (*IMPORTED[name], *plugins):
        import_module(module)
    known = import_module(f"{PROJECT}.scenario.plugins")
    for group in (*known.GROUPS, "adapters"):
        known.available(group)  # looks through all packages that are installed
    (entry,) = entry_points(group="console_scripts", name=name)
    command: Callable[[], int] = entry.load()
    return command


def why_not() -> str | None:
    """Say what keeps this process from being forked, None if nothing does."""
    import torch

    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"imports started {threads - 1} threads, which a fork would not have: set OMP_NUM_THREADS=1"
    if torch.cuda.is_initialized():
        return "a GPU has been touched, which a fork could not use"
    return None


def serve(path: Path, lifeline: int) -> Request | None:
    """Listen until the lifeline is at its end; return, in a forked process, what that has to do."""
    children: set[int] = set()
    with socket.socket(socket.AF_UNIX) as listener:
        scratch = path.with_suffix(".new")
        scratch.unlink(missing_ok=True)
        listener.bind(str(scratch))
        listener.listen(64)
        scratch.replace(path)
        while True:
            ready, _, _ = select.select([listener, lifeline], [], [], 1.0 if children else None)
            children = {child for child in children if not _over(child)}
            if lifeline in ready:
                break
            if listener in ready:
                connection, _ = listener.accept()
                child = os.fork()
                if child == 0:
                    listener.close()
                    os.close(lifeline)
                    return _receive(connection)
                connection.close()
                children.add(child)
    _end(children)
    return None


def _receive(connection: socket.socket) -> Request:
    """Take over what was asked for, with its standard input and outputs, or end if who asked has done it itself."""
    with connection:
        try:
            connection.sendall(READY)
            head, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
            size, data = int.from_bytes(head, "big"), b""
            while len(data) < size and (part := connection.recv(size - len(data))):
                data += part
        except OSError:
            os._exit(0)
    if len(head) < 4 or len(data) < size:
        os._exit(0)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    return Request.parse(data)


def become(request: Request) -> None:
    """Make this process the one that was asked for: arguments, environment, folder, and randomness of its own."""
    import numpy as np

    sys.argv[:] = request.arguments
    os.environb.clear()
    os.environb.update(request.environment)
    os.chdir(request.folder)
    np.random.seed()  # noqa: NPY002 - else every message would draw the same from NumPy's global generator


def end_at_once(warm: int) -> None:
    """End a forked process when all else that is due at an exit is done; nobody asks for its status.

    Python would then take every object apart, those too that it shares with the warm process, and so copy their memory:
    200 MB for every message.
    """
    if os.getpid() != warm:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _over(child: int) -> bool:
    """Whether a child process has ended; tells if it was killed."""
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid and os.WIFSIGNALED(status):
        print(f"the app's process {child} was ended by signal {os.WTERMSIG(status)}", file=sys.stderr)
    return bool(pid)


def _end(children: set[int]) -> None:
    """End children, by request and then by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child in children:
            os.kill(child, number)
        deadline = time.monotonic() + END_S
        while children and time.monotonic() < deadline:
            children = {child for child in children if not _over(child)}
            time.sleep(0.05)


def main(name: str, path: Path, lifeline: int, delay: float) -> None:
    """Become warm and serve; in a forked process, do what the command would do."""
    if select.select([lifeline], [], [], delay)[0]:
        return
    atexit.register(end_at_once, os.getpid())  # who is registered first comes last
    command = warm_up(name)
    reason = why_not()
    if reason:
        sys.exit(f"no warm process: {reason}")
    gc.collect()
    gc.freeze()
    request = serve(path, lifeline)
    if request is not None:
        become(request)
        time.sleep(LINGER_S.get(name, 0.0))
        sys.exit(command())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
