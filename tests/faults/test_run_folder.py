"""What can happen around a run: interruption, a full disk, a second writer, damaged data."""

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed.errors import DataError, RunFolderError

RUN = ("--seeds", "0", "--arms", "clustered", "--set", "training.epochs=1")
Start = Callable[..., subprocess.Popen[str]]


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(
    command: Start, await_rounds: Any, results: Callable[[Path], Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    process = command("run", "digits", *RUN, "--set", "rounds=200", "--out", str(folder))
    await_rounds(folder, 4, process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130
    assert f"go on with: semfed run --resume {folder}" in told
    assert json.loads((folder / "summary.json").read_text())["error"] == "KeyboardInterrupt"
    assert json.loads((folder / "checkpoint" / "checkpoint.json").read_text())["content"]["round"] >= 2


def test_a_failed_run_ends_with_1(command: Start, tmp_path: Path) -> None:
    learner = 'learner={name = "faulty:FailingClient", client = 1, round = 2}'
    process = command(
        "run", "digits", *RUN, "--set", "rounds=2", "--set", learner, "--set", "on_client_failure=fail",
        "--out", str(tmp_path / "run"),
    )  # fmt: skip
    _, told = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "client 'Sat 2' failed in 'train': RuntimeError: as asked" in told
    assert "--resume" in told
    assert "Traceback" not in told


def test_two_runs_do_not_share_a_folder(command: Start, await_rounds: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = command("run", "digits", *RUN, "--set", "rounds=500", "--out", str(folder))
    await_rounds(folder, 2, process)
    before = json.loads((folder / "environment.json").read_text())
    try:
        with pytest.raises(RunFolderError, match=f"is being written by process {process.pid}: wait for it"):
            semfed.run(resume=folder)
        with pytest.raises(RunFolderError, match="is not empty"):
            semfed.run("digits", out=folder)
        assert json.loads((folder / "environment.json").read_text()) == before
        assert not (folder / "summary.json").exists()
    finally:
        process.kill()
        process.communicate()
    assert folder.joinpath("metrics.jsonl").stat().st_size > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 120 KiB of room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_ends_the_run_and_more_room_lets_it_go_on(
    small_disk: Path, results: Callable[[Path], Any], tmp_path: Path
) -> None:
    given: dict[str, Any] = {"seeds": [0], "arms": ["individual"], "overrides": ["rounds=30", "training.epochs=1"]}
    folder = small_disk / "run"
    with pytest.raises(RunFolderError, match="No space left on device.*make room, then go on with --resume"):
        semfed.run("digits", out=folder, **given)
    rounds = json.loads((folder / "checkpoint" / "checkpoint.json").read_text())["content"]["round"]
    assert rounds > 0
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    semfed.run(resume=folder)
    semfed.run("digits", out=tmp_path / "undisturbed", **given)
    assert results(folder) == results(tmp_path / "undisturbed")


def test_a_damaged_data_file_is_named_before_anything_runs(tmp_path: Path, data_root: Path) -> None:
    copy = shutil.copytree(data_root / "MNIST", tmp_path / "MNIST", copy_function=shutil.copy)
    victim = next(path for path in sorted(copy.rglob("*")) if path.is_file() and "train-images" in path.name)
    victim.write_bytes(victim.read_bytes()[:-1000])
    with pytest.raises(DataError, match="MNIST in '.*raw' cannot be read .*: unpack it again"):
        semfed.run("clustered-mnist", data_root=tmp_path, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
