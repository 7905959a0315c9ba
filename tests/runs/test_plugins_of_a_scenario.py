"""Code beside a scenario is found on every engine; what goes wrong in it keeps its traceback."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import semfed
from semfed.errors import FederationError, ScenarioError
from semfed.runs.folder import ERRORS
from semfed.scenario import overrides

LEARNER = """
from semfed.clients.multitask import MultitaskClient


class Mine(MultitaskClient):
    pass


class Bad(MultitaskClient):
    def fit(self, parameters, config):
        if self.session.client == 1:
            raise ValueError("bad [math] in a client")
        return super().fit(parameters, config)


class Abstract(MultitaskClient):
    @property
    @abstractmethod
    def something(self): ...
"""
STRATEGY = """
from semfed.strategies.clustered import ClusteredStrategy


class Bad(ClusteredStrategy):
    stateless = True

    def aggregate_train(self, server_round, replies):
        raise ValueError("bad math in a strategy")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scenario in a folder of its own, with modules beside it whose names no other test uses."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"beside_{abs(hash(str(tmp_path)))}"
    tree = overrides.load("digits", ["rounds=2", "training.epochs=1"], arms=["individual"], seeds=[0]).tree()
    del tree["headline"]
    tree["arms"][0]["learner"] = {"name": f"{name}:Mine"}
    (tmp_path / "mine.toml").write_text(tomli_w.dumps(tree))
    (tmp_path / f"{name}.py").write_text("from abc import abstractmethod\n" + LEARNER)
    (tmp_path / f"{name}_strategy.py").write_text(STRATEGY)
    (tmp_path / f"{name}_raises.py").write_text("1 / 0\n")
    return tmp_path / "mine.toml"


def module(own: Path) -> str:
    return next(own.parent.glob("beside_*_raises.py")).stem.removesuffix("_raises")


@pytest.mark.parametrize(
    "engine", ["inprocess", *(pytest.param(e, marks=[pytest.mark.flower, pytest.mark.long]) for e in ("ray", "flower"))]
)
def test_a_module_beside_the_scenario_is_found(own: Path, tmp_path: Path, engine: str) -> None:
    """By a process of its own, in another folder, and by its run folder alone when it is resumed or drawn."""
    line = [sys.executable, "-m", "semfed"]
    out, elsewhere = str(tmp_path / "run"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": ""}
    chosen = ["--engine", engine]
    for words in (["run", "--out", out, str(own), *chosen], ["run", "--resume", out, *chosen], ["plot", out]):
        done = subprocess.run([*line, *words], cwd=elsewhere, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{module}_raises:Mine", "cannot be loaded from .*_raises:Mine': ZeroDivisionError: division by zero"),
        ("{module}:Nobody", "cannot be loaded from .*has no attribute 'Nobody'"),
        ("{module}:Abstract", "is abstract: write its something"),
        ("no_such_module:Mine", "No module named 'no_such_module'"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(own: Path, change: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        overrides.load(own, {"arms.individual.learner": change.format(module=module(own))})
    assert "\n" not in str(caught.value)


def test_a_client_s_traceback_is_in_the_run_folder(own: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"arms.individual.learner": f"{module(own)}:Bad", "on_client_failure": "fail"}
    with pytest.raises(FederationError, match=r"ValueError: bad \[math\] in a client") as caught:
        semfed.run(own, overrides=changes, out=tmp_path / "run")
    told = (tmp_path / "run" / ERRORS).read_text()
    assert "individual, seed 0, round 1: Sat 2 in 'train'" in told
    assert f"{module(own)}.py" in told
    assert ", in fit" in told
    assert any("errors.log" in note for note in caught.value.__notes__)


def test_an_error_in_a_strategy_is_one_sentence_and_its_traceback_is_kept(own: Path, tmp_path: Path) -> None:
    changes = ["--set", f"arms.individual.strategy={module(own)}_strategy:Bad", "--out", str(tmp_path / "run")]
    line = [sys.executable, "-m", "semfed", "run", str(own), *changes]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: ValueError: bad math in a strategy\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert "in aggregate_train" in (tmp_path / "run" / ERRORS).read_text()
    loud = subprocess.run([*line[:-1], str(tmp_path / "loud"), "--debug"], capture_output=True, text=True, check=False)
    assert loud.returncode == 1
    assert "in aggregate_train" in loud.stderr
