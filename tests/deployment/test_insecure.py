"""The insecure overlay: works when it is asked for, and says what it is."""

import time
from pathlib import Path

import pytest

from deployment.rehearsal import HERE, ONE_MACHINE, READY_S, Rehearsal

pytestmark = pytest.mark.long


@pytest.mark.usefixtures("_permitted")
def test_supernodes_join_without_keys(tmp_path: Path) -> None:
    with Rehearsal(tmp_path, None, [[ONE_MACHINE, HERE / "insecure.yml"]]) as rehearsal:
        rehearsal.up(["superlink", "supernode-1", "supernode-2", "supernode-3"])
        deadline = time.monotonic() + READY_S
        while rehearsal.log("superlink").count("Activated node_id") < 3:
            assert time.monotonic() < deadline, rehearsal.log("supernode-1")
            time.sleep(0.5)
        assert not list((tmp_path / "keys").rglob("*.key"))
        assert "http://0.0.0.0:8000" in rehearsal.log("superlink")
