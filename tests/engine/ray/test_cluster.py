"""What a Ray cluster has room for, where its sockets go, and that a private one is private."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from ray._private import ray_constants

import semfed
from semfed.engine import flower_simulation
from semfed.engine.ray.cluster import connect, count_actors, room
from semfed.engine.sockets import LONGEST, SOCKET, socket_folder
from semfed.errors import EngineError

SHORT = ["rounds=1", "training.epochs=1"]


def node(cpus: float, gpus: float = 0, *, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}}


@pytest.mark.parametrize(
    ("nodes", "gpus", "expected"),
    [
        ([node(2)], 0.0, 2),
        ([node(2), node(4)], 0.0, 6),
        ([node(2), node(4, alive=False)], 0.0, 2),
        ([node(2.5)], 0.0, 2),
        ([node(8)], 0.5, 0),
        ([node(8, 1)], 0.5, 2),
        ([node(8, 1)], 0.4, 2),  # two of 0.4 on a card; what is left of it is of no use
        ([node(8, 1)], 0.3, 3),
        ([node(8, 2)], 0.1, 8),
        ([node(8, 4), node(1, 4)], 2.0, 3),
    ],
)
def test_room_by_hand(nodes: list[dict[str, Any]], gpus: float, expected: int) -> None:
    assert room(nodes, gpus) == expected


def test_actors_that_would_be_waited_for_in_silence_are_refused() -> None:
    assert count_actors(10, None, 0.0, [node(4)]) == 4
    assert count_actors(3, 4, 0.0, [node(4)]) == 3
    for workers, gpus, words in (
        (5, 0.0, "5 actors with one CPU each are asked for, and this Ray cluster has room for 4"),
        (2, 0.5, "2 actors with one CPU and 0.5 of a GPU each are asked for, and this Ray cluster has room for 0"),
        (None, 0.5, "1 actors with one CPU and 0.5"),
    ):
        with pytest.raises(EngineError, match=words):
            count_actors(10, workers, gpus, [node(4)])


@given(st.integers(0, 200))
def test_sockets_always_fit(length: int) -> None:
    asked = "/" + length * "x"
    found = socket_folder({"TMPDIR": asked})
    assert len(found + SOCKET) <= LONGEST
    assert (found == asked) == (len(asked + SOCKET) <= LONGEST)
    assert socket_folder({"TMPDIR": asked, "RAY_TMPDIR": "/scratch"}) == "/scratch"


def test_what_flower_s_processes_get_of_the_environment() -> None:
    around = {
        "PATH": "/bin", "RAY_ADDRESS": "10.0.0.1:6379", "FLWR_HOME": "/mine", "http_proxy": "http://proxy:3128",
        "no_proxy": "intra.net", "MY_OWN": "kept",
    }  # fmt: skip
    found = flower_simulation._handed_on(around)
    assert not {"RAY_ADDRESS", "FLWR_HOME"} & found.keys()
    assert found["no_proxy"] == found["NO_PROXY"] == "intra.net,127.0.0.1,localhost,::1"
    assert (found["http_proxy"], found["MY_OWN"], found["RAY_TMPDIR"]) == ("http://proxy:3128", "kept", "/tmp")
    assert all(os.path.isabs(path) for path in found["PYTHONPATH"].split(os.pathsep))


@pytest.mark.flower
def test_a_gpu_that_is_not_there_is_told_at_once_and_ray_is_gone(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="room for 0: lower --workers or --gpus-per-worker"):
        semfed.run(
            "digits", engine="ray", workers=2, gpus_per_worker=0.5, seeds=[0], overrides=SHORT, out=tmp_path / "run"
        )
    assert not ray.is_initialized()


@pytest.mark.flower
@pytest.mark.long
@pytest.mark.parametrize("engine", ["ray", "flower"])
def test_other_clusters_proxies_and_long_folders_do_not_matter(engine: str, tmp_path: Path) -> None:
    """A dead cluster in RAY_ADDRESS, a proxy that is not there, a batch system's TMPDIR, and another `semfed` here."""
    long = tmp_path / ("x" * 80)
    long.mkdir()
    (tmp_path / "semfed").mkdir()
    (tmp_path / "semfed" / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    environment = {
        **os.environ, "RAY_ADDRESS": "127.0.0.1:1", "http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9",
        "TMPDIR": str(long),
    }  # fmt: skip
    script = Path(sys.executable).with_name("semfed")
    line = [str(script), "run", "digits", "--engine", engine, "--seeds", "0", "--set", "rounds=1", "--out", "run"]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    quiet = semfed.run("digits", seeds=[0], overrides=["rounds=1"], out=tmp_path / "quiet")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (quiet.folder / "metrics.jsonl").read_bytes()


@pytest.mark.flower
def test_ray_does_not_keep_the_handler_of_sigterm(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    semfed.run("digits", engine="ray", workers=1, seeds=[0], arms=["individual"], overrides=SHORT, out=tmp_path / "run")
    assert signal.getsignal(signal.SIGTERM) is before


def test_under_uv_run_actors_do_not_get_the_project_s_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would upload it, or refuse it where it is larger than 512 MB; and everything is put back."""
    started: list[bool] = []

    def init(**_: Any) -> None:
        started.append(ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV)

    monkeypatch.setattr(ray_constants, "RAY_ENABLE_UV_RUN_RUNTIME_ENV", True)
    monkeypatch.setattr(ray, "init", init)
    connect(None, 1)
    connect("auto", None)
    assert started == [False, False]
    assert ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV is True


@pytest.mark.parametrize("kind", [OSError, RuntimeError, ConnectionError, ValueError])
def test_every_error_of_ray_s_start_is_one_sentence(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        raise kind("no")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(EngineError, match="Ray does not start .*: check --ray-address, or use --engine inprocess"):
        connect(None, None)


@pytest.mark.parametrize("address", ["no-such-host.invalid:6379", "127.0.0.1:1", "[::1]:1", "127.0.0.1:99999"])
def test_a_cluster_that_nobody_answers_for_is_refused_at_once(address: str) -> None:
    started = time.monotonic()
    with pytest.raises(EngineError, match=rf"the cluster at '{re.escape(address)}' cannot be joined .*--ray-address"):
        connect(address, None)
    assert time.monotonic() - started < 60
