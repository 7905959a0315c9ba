"""A package of somebody else, installed into a fresh environment: a channel, a client and a strategy that are its own.

It is what ``semfed new`` writes, three times, so that this is also the way that the documentation promises.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import EntryPoint, distribution
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from semfed.testing import package

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
SCENARIO: dict[str, Any] = {
    "name": "third-party",
    "rounds": 2,
    "seeds": [0],
    "data": {"source": "digits", "partition": {"name": "third-partition", "share": 0.2}},
    "tasks": {"two": {"values": [2], "rest": "other"}},
    "clients": [{"name": name, "task": "two"} for name in "abc"],
    "model": {"encoder": {"name": "mlp", "hidden": [16]}, "decoder": {"name": "third-model", "width": 12}},
    "channel": {"name": "third-channel", "uses": 8, "probability": 0.25},
    "training": {"batch_size": 20, "lr": 0.1},
    "learner": "third-client",
    "strategy": {"name": "third-strategy", "quorum": 1.0},
}
KINDS = ("channel", "client", "strategy", "partition", "model")


class Environment:
    """A virtual environment that borrows what this one has, with packages of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        (self.site,) = (folder / "lib").glob("python*/site-packages")
        (self.site / "borrowed.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        for name in ("flwr", "ray"):
            for point in distribution(name).entry_points.select(group="console_scripts"):
                self._write_script(point)

    def _write_script(self, point: EntryPoint) -> None:
        """Let a command run with this Python, which knows the packages."""
        path = self.python.with_name(point.name)
        path.write_text(
            f"#!{self.python}\nimport sys\nfrom {point.module} import {point.attr} as run\nsys.exit(run())\n"
        )
        path.chmod(0o755)

    def call(self, *words: str, cwd: Path, **more: str) -> str:
        """Run the environment's Python; return what it prints."""
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "VIRTUAL_ENV": str(self.folder), **more}
        for name in ("PYTHONPATH", "SEMFED_DATA"):
            environment.pop(name, None)
        line = [str(self.python), *words]
        done = subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """With a package of every kind of part that a scenario holds, none of which is on this process's path."""
    folder = tmp_path_factory.mktemp("third-party")
    made = Environment(folder / "venv")
    packages = [package.write(kind, f"third-{kind}", folder / "packages") for kind in KINDS]
    offline = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    made.call("-m", "pip", "install", *offline, "--target", str(made.site), *map(str, packages), cwd=folder)
    assert not [name for name in sys.modules if name.startswith("third_")]
    return made


def run(environment: Environment, cwd: Path, *options: str) -> list[str]:
    """Return the lines of the history."""
    (cwd / "scenario.toml").write_text(tomli_w.dumps(SCENARIO))
    environment.call("-m", "semfed", "run", "scenario.toml", "--out", "run", *options, cwd=cwd)
    return history(cwd / "run")


def history(folder: Path) -> list[str]:
    assert json.loads((folder / "summary.json").read_text())["complete"]
    return (folder / "metrics.jsonl").read_text().splitlines()


@pytest.fixture(scope="module")
def here(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What it gives in one process."""
    return run(environment, tmp_path_factory.mktemp("inprocess"))


def test_its_parts_are_listed_with_their_package(environment: Environment, tmp_path: Path) -> None:
    told = environment.call("-m", "semfed", "plugins", "third-channel", cwd=tmp_path, COLUMNS="120")
    assert "third-channel 0.1.0" in told
    assert "That a number is lost." in told


def test_it_runs_and_its_channel_is_counted(here: list[str]) -> None:
    records = [json.loads(line) for line in here]
    (score,) = [r["value"] for r in records if r["metric"] == "accuracy/average" and r["round"] == 2]
    assert 0.8 < score <= 1
    used = [r["value"] for r in records if r["metric"] == "cost/channel_uses" and r["round"] == 1]
    # A fifth of 1258 images for training, dealt to three, by 8 uses each.
    assert sorted(used) == [8 * 83, 8 * 84, 8 * 84]


@pytest.mark.flower
def test_it_runs_on_ray_with_the_same_numbers(environment: Environment, here: list[str], tmp_path: Path) -> None:
    assert run(environment, tmp_path, "--engine", "ray", "--workers", "2") == here


@pytest.mark.flower
def test_it_runs_as_a_flower_app_with_the_same_numbers(
    environment: Environment, here: list[str], flower_home: dict[str, str], tmp_path: Path
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "scenario.toml").write_text(tomli_w.dumps(SCENARIO))
    project = tomllib.loads((ROOT / "scenarios" / "digits" / "pyproject.toml").read_text())
    project["tool"]["flwr"]["app"]["config"] = {"scenario": "scenario.toml", "out": str(tmp_path / "run")}
    (app / "pyproject.toml").write_text(tomli_w.dumps(project))
    environment.call("-m", "flwr.cli.app", "run", str(app), "--stream", cwd=tmp_path, **flower_home)
    assert after_opening(history(tmp_path / "run")) == after_opening(here)


def after_opening(records: list[str]) -> list[str]:
    """What opening costs depends on the number of nodes, which is two here."""
    return [line for line in records if json.loads(line)["round"] > 0]
