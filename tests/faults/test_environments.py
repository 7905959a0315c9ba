"""Machines as there are: few open files, little shared memory, nothing to write to, C locales, `uv run`, other Rays."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
SHORT = ["run", "digits", "--seeds", "0", "--arms", "individual", "--set", "rounds=1"]
RAY = ["--engine", "ray", "--workers", "2"]
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def call(line: list[str], cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("SEMFED_DATA", "RAY_ADDRESS")} | more
    return subprocess.run(
        line, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=300, check=False
    )


@pytest.fixture
def semfed(tmp_path: Path) -> Run:
    """Run the command line in a shell that has been prepared; what it prints and its code come back."""

    def run(words: list[str], prepare: str = "true", **more: str) -> subprocess.CompletedProcess[str]:
        line = ["bash", "-c", f'{prepare} && exec "$@"', "bash", sys.executable, "-m", "semfed", *words]
        return call(line, tmp_path, **more)

    return run


@pytest.fixture
def apart(tmp_path: Path) -> Run:
    """Run the command line with mounts of its own, where this user may make them."""
    own = ["unshare", "--mount", "bash", "-c"]
    if shutil.which("unshare") is None or call([*own, "mount -t tmpfs none /dev/shm"], tmp_path).returncode:
        pytest.skip("this user cannot make mounts of its own")

    def run(words: list[str], prepare: str, **more: str) -> subprocess.CompletedProcess[str]:
        line = [*own, f'set -e; {prepare}; exec "$@"', "bash", sys.executable, "-m", "semfed", *words]
        return call(line, tmp_path, **more)

    return run


def assert_complete(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert done.returncode == 0, done.stderr
    assert (folder / "summary.json").is_file()
    assert list((folder / "plots").glob("*.png"))


@pytest.mark.parametrize(
    "engine", [[], pytest.param(RAY, marks=[pytest.mark.flower, pytest.mark.long])], ids=["inprocess", "ray"]
)
def test_with_128_open_files(semfed: Run, tmp_path: Path, engine: list[str]) -> None:
    assert_complete(semfed([*SHORT, *engine, "--out", "run"], "ulimit -n 128"), tmp_path / "run")


@pytest.mark.long
def test_in_a_c_locale_with_a_path_that_it_cannot_spell(semfed: Run, tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    (tmp_path / "Größe").mkdir()
    scenario = (Path(__file__).parents[2] / "scenarios" / "digits" / "scenario.toml").read_text(encoding="utf-8")
    (tmp_path / "Größe" / "東.toml").write_text(scenario.replace('"Sat 1"', '"Süd"'), encoding="utf-8")
    done = semfed([SHORT[0], "Größe/東.toml", *SHORT[2:], "--out", "Größe/run"], **plain)
    assert_complete(done, tmp_path / "Größe" / "run")
    assert '"client": "S\\u00fcd"' in (tmp_path / "Größe" / "run" / "metrics.jsonl").read_text(encoding="ascii")
    assert_complete(semfed(["plot", "Größe/run"], **plain), tmp_path / "Größe" / "run")


@pytest.mark.long
@pytest.mark.flower
def test_with_16_mb_of_shared_memory(apart: Run, tmp_path: Path) -> None:
    done = apart([*SHORT, *RAY, "--out", "run"], "mount -t tmpfs -o size=16m none /dev/shm")
    assert_complete(done, tmp_path / "run")


@pytest.mark.long
@pytest.mark.flower
def test_beside_somebody_elses_ray(apart: Run, tmp_path: Path) -> None:
    """Ray notes the cluster of a machine in a file, which a private cluster must not believe."""
    note = "mkdir -p /tmp/ray; mount -t tmpfs none /tmp/ray; echo 127.0.0.1:1 > /tmp/ray/ray_current_cluster"
    assert_complete(apart([*SHORT, *RAY, "--out", "run"], note), tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize("engine", [[], pytest.param(RAY, marks=pytest.mark.flower)], ids=["inprocess", "ray"])
def test_with_a_root_that_cannot_be_written(apart: Run, tmp_path: Path, engine: list[str]) -> None:
    """One folder is left to write to; without one there is a sentence."""
    left = tmp_path / "left"
    left.mkdir()
    mount = f"mount --bind {left} /mnt; mount -o remount,bind,ro /; cd /usr"
    more = {"TMPDIR": "/mnt", "SEMFED_CACHE": "/mnt/cache"}
    assert_complete(apart([*SHORT, *engine, "--out", "/mnt/run"], mount, **more), left / "run")
    for out, cache, words in (("other", "/mnt/cache", "run folder"), ("/mnt/other", "/c", "images cannot be kept in")):
        done = apart([*SHORT, *engine, "--out", out], mount, **(more | {"SEMFED_CACHE": cache}))
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert words in done.stderr


@pytest.mark.long
@pytest.mark.flower
@pytest.mark.skipif(UV is None, reason="uv is not installed")
@pytest.mark.parametrize("place", [".", "sub/folder"])
def test_under_uv_run(tmp_path: Path, place: str) -> None:
    """From a project's folder of more than 512 MB, and from below it: Ray would upload the one and refuse the other."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.11"\n')
    (tmp_path / "sub" / "folder").mkdir(parents=True)
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(600 * 2**20)
    own = {"VIRTUAL_ENV": sys.prefix, "UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "uv")}
    line = [str(UV), "run", "--active", "--no-sync", "python", "-m", "semfed", *SHORT, *RAY, "--out", "run"]
    assert_complete(call(line, tmp_path / place, **own), tmp_path / place / "run")
