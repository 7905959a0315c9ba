"""A rehearsal that is killed leaves no process, and the next one removes its namespaces."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deployment.namespaces import KEPT, PREFIX, Network

pytestmark = pytest.mark.long

PROGRAM = """
import sys
from pathlib import Path
from deployment.rehearsal import HERE, ONE_MACHINE, Rehearsal

with Rehearsal(Path(sys.argv[1]), None, [[ONE_MACHINE, HERE / "insecure.yml"]]) as rehearsal:
    rehearsal.start("superlink")
    rehearsal.await_log("superlink", "Starting Flower SuperLink")
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.mark.usefixtures("_permitted")
def test_nothing_survives_a_rehearsal_that_is_killed(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", PROGRAM, tmp_path]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"up\n"
        family = psutil.Process(killed.pid).children(recursive=True)
        assert any("flower-superlink" in " ".join(process.cmdline()) for process in family)
        killed.kill()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    left = f"{PREFIX}-{killed.pid}-*"
    assert list(KEPT.glob(left))
    with Network():
        assert not list(KEPT.glob(left))
