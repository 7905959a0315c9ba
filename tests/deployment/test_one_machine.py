"""The layout of ``docker-compose.yml``, every service in a network namespace of its own, with TLS."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deployment.make_keys import make, make_node_key
from deployment.rehearsal import Rehearsal

pytestmark = pytest.mark.long
LIMIT_S = 1500.0


def test_clustered_mnist_gives_the_numbers_of_the_in_process_engine(
    data_root: Path, one_machine: Rehearsal, same_as_in_process: Callable[..., None]
) -> None:
    run = one_machine.submit("/srv/scenarios/clustered-mnist", "rounds=2 arms='clustered' seeds='0'")
    assert one_machine.finish(run, LIMIT_S) == "finished:completed"
    same_as_in_process(one_machine.folder(run), "clustered-mnist", ["rounds=2"], "clustered")


def test_a_supernode_that_is_killed_and_comes_back_costs_nothing(
    one_machine: Rehearsal, same_as_in_process: Callable[..., None]
) -> None:
    """What it knew of the run it is told again; its clients' private states are on its disk."""
    run = one_machine.submit("/srv/scenarios/digits", "rounds=2 seeds='0' set='timeout_s=240' arms='individual'")
    one_machine.await_round(run, 0, LIMIT_S)
    one_machine.kill("supernode-3")
    one_machine.come_back("supernode-3")
    assert one_machine.finish(run, LIMIT_S) == "finished:completed"
    same_as_in_process(one_machine.folder(run), "digits", ["rounds=2", "timeout_s=240"], "individual")


def test_a_supernode_that_is_not_registered_is_refused(one_machine: Rehearsal, tmp_path: Path) -> None:
    stranger = tmp_path / "keys"
    shutil.copytree(one_machine.keys / "supernode-2", stranger)
    make_node_key(stranger)
    one_machine.kill("supernode-2")
    before = len(one_machine.log("supernode-2"))
    one_machine.start("supernode-2", mounts={"/srv/keys": stranger})
    try:
        assert one_machine.processes["supernode-2"].wait(60) != 0
        assert "Failed to activate SuperNode" in one_machine.log("supernode-2")[before:]
    finally:
        one_machine.start("supernode-2")


def test_a_server_with_a_certificate_of_another_authority_is_refused(one_machine: Rehearsal, tmp_path: Path) -> None:
    """A SuperNode that trusts another authority does not talk to the SuperLink: it takes it for an impostor."""
    (tmp_path / "other").mkdir()
    make(tmp_path / "other", 1)
    wrong = tmp_path / "keys"
    shutil.copytree(one_machine.keys / "supernode-1", wrong)
    shutil.copy(tmp_path / "other" / "ca.crt", wrong / "ca.crt")
    one_machine.kill("supernode-1")
    before = len(one_machine.log("supernode-1"))
    one_machine.start("supernode-1", mounts={"/srv/keys": wrong})
    try:
        one_machine.await_log("supernode-1", "CERTIFICATE_VERIFY_FAILED", 60, after=before)
    finally:
        if one_machine.processes["supernode-1"].poll() is None:
            one_machine.kill("supernode-1")
        one_machine.start("supernode-1")
