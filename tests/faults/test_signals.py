"""SIGTERM and SIGHUP, as SLURM, ``timeout`` and a closed terminal send them; and a parent that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed.engine import flower_simulation
from semfed.errors import EngineError
from semfed.events.interruption import Interruption, Terminated, exit_code
from semfed.runs.recorder import Recorder
from semfed.scenario import Scenario
from tests.processes import command_of, with_variable

Start = Callable[..., subprocess.Popen[str]]
RUN = ("--seeds", "0", "--arms", "individual", "--set", "training.epochs=1", "--set", "rounds=500")
TOLD = {"SIGINT": "KeyboardInterrupt", "SIGTERM": "SIGTERM", "SIGHUP": "SIGHUP"}


def left_over(mark: str) -> list[str]:
    """Commands of the processes that have inherited a mark in their environment."""
    return [command_of(process) for process in with_variable("SEMFED_TEST_MARK", mark)]


def await_none(mark: str) -> None:
    deadline = time.monotonic() + 30
    while left_over(mark):
        assert time.monotonic() < deadline, left_over(mark)
        time.sleep(0.2)


def start_and_signal(
    command: Start, await_rounds: Any, tmp_path: Path, name: str, engine: str
) -> tuple[subprocess.Popen[str], str, Path]:
    scratch, folder, mark = tmp_path / "tmp", tmp_path / "run", f"{tmp_path}"
    scratch.mkdir()
    process = command(
        "run", "digits", *RUN, "--out", str(folder), "--engine", engine,
        SEMFED_TEST_MARK=mark, TMPDIR=str(scratch),
    )  # fmt: skip
    await_rounds(folder, 3, process)
    process.send_signal(signal.Signals[name])
    _, told = process.communicate(timeout=120)
    await_none(mark)
    return process, told, folder


def check_the_end(process: subprocess.Popen[str], told: str, folder: Path, name: str) -> None:
    assert process.returncode == 128 + signal.Signals[name]
    assert f"go on with: semfed run --resume {folder}" in told
    assert "Traceback" not in told
    summary = json.loads((folder / "summary.json").read_text())
    assert not summary["complete"]
    assert summary["error"] == TOLD[name]
    rounds = (folder / "timing.jsonl").read_bytes().count(b"\n")
    time.sleep(1)
    assert (folder / "timing.jsonl").read_bytes().count(b"\n") == rounds, "nobody trains on"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_run_as_ctrl_c_does(command: Start, await_rounds: Any, tmp_path: Path, name: str) -> None:
    process, told, folder = start_and_signal(command, await_rounds, tmp_path, name, "inprocess")
    check_the_end(process, told, folder, name)
    assert not list((tmp_path / "tmp").glob("semfed*")), "scratch is gone"


@pytest.mark.long
@pytest.mark.flower
@pytest.mark.parametrize("name", sorted(TOLD))
@pytest.mark.parametrize("engine", ["ray", "flower"])
def test_a_signal_leaves_no_process_on_any_engine(
    command: Start, await_rounds: Any, tmp_path: Path, engine: str, name: str
) -> None:
    process, told, folder = start_and_signal(command, await_rounds, tmp_path, name, engine)
    check_the_end(process, told, folder, name)
    assert not list((tmp_path / "tmp").glob("semfed*")), "scratch is gone"


@pytest.mark.parametrize(
    ("seen", "error", "kept"),
    [
        (EngineError("a worker died"), Terminated(signal.SIGTERM), "SIGTERM"),
        (EngineError("a worker died"), KeyboardInterrupt(), "KeyboardInterrupt"),
        (EngineError("a worker died"), EngineError("Flower ended the run"), "a worker died"),
        (None, Terminated(signal.SIGTERM), None),
    ],
)
def test_how_flowers_server_saw_an_interruption_is_not_how_the_run_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: EngineError | None, error: BaseException, kept: str | None
) -> None:
    """Signals reach its workers, too, and it may see them end before it ends itself."""

    def simulate(scenario: Scenario, folder: Path, *_: object, **__: object) -> None:
        server = Recorder(folder, engine="flower")
        server.on_run_start(scenario)
        server.on_run_end(seen)
        raise error

    monkeypatch.setattr(flower_simulation, "simulate", simulate)
    with pytest.raises(type(error)):
        semfed.run("digits", engine="flower", out=tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary.get("error") == kept
    assert summary["complete"] == (kept is None)


@pytest.mark.long
@pytest.mark.flower
def test_flowers_processes_end_with_the_one_that_started_them(
    command: Start, await_rounds: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    mark = str(tmp_path)
    process = command("run", "digits", *RUN, "--out", str(folder), "--engine", "flower", SEMFED_TEST_MARK=mark)
    await_rounds(folder, 3, process)
    process.kill()
    process.communicate()
    await_none(mark)


def test_a_guardian_ends_what_has_left_its_family(tmp_path: Path) -> None:
    """A grandchild in a session of its own whose parent has ended, as Ray's processes are."""
    sleep = "import time; time.sleep(600)"
    start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}], start_new_session=True)"
    keep = f"{start}\nsubprocess.run([sys.executable, '-c', {start!r}])\n{sleep}"
    mark = str(tmp_path)
    guardian = subprocess.Popen(
        [sys.executable, "-m", "semfed.engine.guardian", sys.executable, "-c", keep],
        stdin=subprocess.PIPE, env={**os.environ, "SEMFED_TEST_MARK": mark},
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while sum(sleep in command and "Popen" not in command for command in left_over(mark)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert guardian.stdin is not None
    guardian.stdin.close()  # as when the process at the other end dies
    assert guardian.wait(timeout=30) == 0
    await_none(mark)


def test_a_guardian_ends_with_its_command() -> None:
    command = [sys.executable, "-m", "semfed.engine.guardian", sys.executable, "-c", "raise SystemExit(7)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as guardian:
        assert guardian.wait(timeout=30) == 7


def test_codes_and_nested_interruptions() -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt) as caught, Interruption(), Interruption():
            signal.raise_signal(number)
        assert exit_code(caught.value) == code
        assert isinstance(caught.value, Terminated) == (number != signal.SIGINT)
        assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored() -> None:
    """As under ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
