import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import semfed
from deployment.namespaces import KEPT, PREFIX, Network
from deployment.rehearsal import ONE_MACHINE, Rehearsal

DEPLOYMENT = ONE_MACHINE.parent / "deployment"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rehearsal")


@pytest.fixture(scope="module")
def _permitted() -> Iterator[None]:
    """Skip where namespaces are not permitted; fail if anything of a rehearsal is left behind."""
    reason = Network.why_not()
    if reason:
        pytest.skip(reason)
    yield
    assert not list(KEPT.glob(f"{PREFIX}-{os.getpid()}-*"))
    left = [process for process in psutil.Process().children(recursive=True) if _of_a_rehearsal(process)]
    assert not psutil.wait_procs(left, timeout=5)[1]


def _of_a_rehearsal(process: psutil.Process) -> bool:
    try:
        return process.environ().get("FLWR_HOME", "").startswith("/srv/")
    except psutil.Error:
        return False


@pytest.fixture(scope="module")
def one_machine(scratch: Path, _permitted: None) -> Iterator[Rehearsal]:
    """The default layout, up: every service a host of its own."""
    with Rehearsal(scratch, _data_root()) as rehearsal:
        rehearsal.up()
        yield rehearsal


@pytest.fixture(scope="module")
def two_machines(scratch: Path, _permitted: None) -> Iterator[Rehearsal]:
    """Server and clients on two hosts; of the keys, only the nodes' folders are carried to the clients' machine."""
    layouts = [[DEPLOYMENT / "server.yml"], [DEPLOYMENT / "clients.yml"]]

    def place(service: str) -> str:
        return "clients" if service.rsplit("-", 1)[-1].isdigit() else "server"

    with Rehearsal(scratch, _data_root(), layouts, place=place) as rehearsal:
        rehearsal.up()
        yield rehearsal


@pytest.fixture
def same_as_in_process(tmp_path: Path) -> Callable[..., None]:
    """Check that a run folder holds what the in-process engine finds."""

    def check(folder: Path, scenario: str, overrides: list[str], arm: str) -> None:
        there = tmp_path / "inprocess"
        semfed.run(scenario, seeds=[0], arms=[arm], overrides=overrides, out=there)
        for name in ("metrics.jsonl", "outcomes.jsonl", "summary.json", "scenario.toml"):
            assert (folder / name).read_text() == (there / name).read_text(), name

    return check


def _data_root() -> Path | None:
    given = os.environ.get("SEMFED_DATA")
    return Path(given).resolve() if given else None
