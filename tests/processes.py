"""Processes that tests have started, however far down: they inherit the environment."""

import psutil


def with_variable(name: str, value: str) -> list[psutil.Process]:
    """Return the processes that were started with an environment variable."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(name) == value:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def command_of(process: psutil.Process) -> str:
    """Return what a process was started by; nothing if it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
