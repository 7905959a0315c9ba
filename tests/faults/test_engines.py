"""Faults of processes on the engines that have some: Ray actors, Flower's simulation, its server."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

import semfed
from semfed.errors import EngineError

pytestmark = [pytest.mark.flower, pytest.mark.long]
GIVEN: dict[str, Any] = {"seeds": [0], "arms": ["clustered", "individual"]}
SHORT = ["rounds=3", "training.epochs=1"]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    semfed.run("digits", overrides=SHORT, out=out, **GIVEN)
    return out


def failing(how: str, *, learner: str = "FailingClient", **settings: Any) -> str:
    given = "".join(f", {name} = {value!r}" for name, value in settings.items())
    return f'learner={{name = "faulty:{learner}", client = 1, round = 2, how = "{how}"{given}}}'


def after_opening(folder: Path) -> list[dict[str, Any]]:
    """The history but for the cost of opening, which depends on the length of the scenario's text."""
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [r for r in told if r["round"] > 0]


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def end_all(members: list[psutil.Process]) -> None:
    for member in members:
        if member.is_running():
            member.kill()
    psutil.wait_procs(members, timeout=20)


@pytest.mark.parametrize("engine", ["ray", "flower"])
def test_everything_killed_and_resumed(
    command: Start, await_rounds: Any, results: Callable[[Path], Any], undisturbed: Path, tmp_path: Path, engine: str
) -> None:
    """As when a machine is switched off; private states come back from the checkpoint."""
    folder = tmp_path / "run"
    sets = [word for override in SHORT for word in ("--set", override)]
    arguments = ("run", "digits", "--seeds", "0", "--arms", "clustered,individual", *sets, "--engine", engine)
    process = command(*arguments, "--out", str(folder))
    await_rounds(folder, 6, process)
    end_all(family(process))
    process.communicate()
    again = command("run", "--resume", str(folder), "--engine", engine)
    told = again.communicate(timeout=900)
    assert again.returncode == 0, told
    assert results(folder) == results(undisturbed)
    assert len(json.loads((folder / "environment.json").read_text())["resumed"]) == 1


def test_an_actor_that_exits_is_replaced(undisturbed: Path, tmp_path: Path) -> None:
    """`os._exit` in the second round; an actor ended by SIGKILL is in tests/engine/ray/test_grid.py."""
    once = tmp_path / "once"
    overrides = [*SHORT, failing("exit", once=str(once))]
    semfed.run("digits", engine="ray", workers=2, overrides=overrides, out=tmp_path / "run", **GIVEN)
    assert once.exists()
    assert not ray.is_initialized()
    told = after_opening(tmp_path / "run")
    assert told == after_opening(undisturbed)


def test_a_dead_process_of_flowers_simulation_ends_the_run_and_it_goes_on(
    results: Callable[[Path], Any], undisturbed: Path, tmp_path: Path
) -> None:
    """Flower leaves a dead Ray actor in its pool, where it would fail most of the later messages."""
    once, folder = tmp_path / "once", tmp_path / "run"
    overrides = [*SHORT, failing("exit", once=str(once))]
    with pytest.raises(EngineError, match="a worker process of Flower's simulation died while it served 'Sat 2'"):
        semfed.run("digits", engine="flower", overrides=overrides, out=folder, **GIVEN)
    assert once.exists()
    semfed.run(resume=folder, engine="flower")
    assert after_opening(folder) == after_opening(undisturbed)


def test_the_server_process_is_killed_and_the_run_goes_on(
    command: Start, await_rounds: Any, results: Callable[[Path], Any], undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    sets = [word for override in SHORT for word in ("--set", override)]
    process = command(
        "run", "digits", "--seeds", "0", "--arms", "clustered,individual", *sets, "--engine", "flower",
        "--out", str(folder),
    )  # fmt: skip
    await_rounds(folder, 3, process)
    (server,) = [p for p in family(process) if "flwr-simulation" in " ".join(p.cmdline()) and p.status() != "zombie"][
        :1
    ]
    server.kill()
    _, told = process.communicate(timeout=900)
    assert process.returncode == 1
    assert f"go on with: semfed run --resume {folder} --engine flower" in told
    semfed.run(resume=folder, engine="flower")
    assert results(folder) == results(undisturbed)


def test_a_late_reply_does_not_put_an_older_state_over_a_newer_one(tmp_path: Path) -> None:
    """Visits are counted in the client's state: under Flower a straggler's count would fall back."""
    overrides = [
        "rounds=12",
        "training.epochs=1",
        "timeout_s=4",
        failing("sleep", learner="CountingClient", seconds=6.0),
    ]
    semfed.run("digits", engine="flower", seeds=[0], arms=["individual"], overrides=overrides, out=tmp_path / "run")
    told = after_opening(tmp_path / "run")
    late = [r for r in told if r["client"] == "Sat 2"]
    missed = [r["note"] for r in late if r["metric"].startswith("failure/")]
    assert missed[0] == "no reply within 4 s"
    assert set(missed[1:]) == {"still busy with an earlier message"}
    visits = [r["value"] for r in late if r["metric"] == "visits/t2"]
    assert visits == [1, *range(3, len(visits) + 2)]  # the second visit's answer came too late; its state is kept
