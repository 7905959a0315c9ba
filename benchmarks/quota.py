"""CPU time that a process and everything that it starts may take, as `cpus` of a container: a control group each."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 100_000


@contextmanager
def limited(processes: Mapping[str, int], cpus: float) -> Iterator[None]:
    """Limit processes, each with its descendants, for a while.

    Parameters
    ----------
    processes : mapping of str to int
        Process identifiers by name.
    cpus : float
        Seconds of CPU time a second that each of them may take.

    Raises
    ------
    OSError
        If control groups cannot be made here: it takes root and a writable ``/sys/fs/cgroup``.
    """
    unified = (ROOT / "cgroup.controllers").exists()  # version 2: one tree for all controllers
    tree = ROOT if unified else ROOT / "cpu"
    if unified:
        (ROOT / "cgroup.subtree_control").write_text("+cpu")
    quota = str(round(cpus * PERIOD_US))
    groups = {name: tree / f"semfed-{pid}" for name, pid in processes.items()}
    try:
        for name, group in groups.items():
            group.mkdir()
            if unified:
                (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
            else:
                (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (group / "cpu.cfs_quota_us").write_text(quota)
            process = psutil.Process(processes[name])
            _move((process.pid, *(child.pid for child in process.children(recursive=True))), group)
        yield
    finally:
        for group in filter(Path.exists, groups.values()):
            while inside := (group / "cgroup.procs").read_text().split():
                _move(map(int, inside), tree)
            group.rmdir()


def _move(processes: Iterable[int], group: Path) -> None:
    """Move processes; what they start afterwards is where they are."""
    for pid in processes:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            (group / "cgroup.procs").write_text(str(pid))
