"""A run goes on after its server process was killed: private states come back from the SuperNodes' own disks."""

from collections.abc import Callable

import psutil
import pytest

from deployment.rehearsal import Rehearsal

pytestmark = pytest.mark.long
LIMIT_S = 1500.0
GIVEN = "rounds=2 arms='clustered' seeds='0'"


def test_a_killed_run_that_is_resumed_gives_the_numbers_of_an_undisturbed_one(
    one_machine: Rehearsal, same_as_in_process: Callable[..., None]
) -> None:
    killed = one_machine.submit("/srv/scenarios/digits", GIVEN)
    one_machine.await_round(killed, 1, LIMIT_S)
    folder = one_machine.folder(killed)
    server_app(one_machine).kill()
    assert not (folder / "outcomes.jsonl").exists()
    assert len(list(one_machine.scratch.glob("states/supernode-*/*/*/client-*/round-*.safetensors"))) >= 3

    going_on = one_machine.submit("/srv/scenarios/digits", f"{GIVEN} resume=true out='/srv/runs/{folder.name}'")
    assert one_machine.finish(going_on, LIMIT_S) == "finished:completed"
    assert one_machine.finish(killed, LIMIT_S) == "finished:failed"
    same_as_in_process(folder, "digits", ["rounds=2"], "clustered")


def server_app(rehearsal: Rehearsal) -> psutil.Process:
    """Return the process in which a run's strategy lives: a fork of the warm one."""
    family = psutil.Process(rehearsal.processes["superexec"].pid).children(recursive=True)
    alive = [process for process in family if process.status() != psutil.STATUS_ZOMBIE]
    (warm, *forked) = [process for process in alive if any("warm/server.py" in word for word in process.cmdline())]
    (found,) = [process for process in forked if process.ppid() == warm.pid]
    return found
