import hashlib
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
from semfed.events.callbacks import Callback

PLUGINS = Path(__file__).parents[1] / "plugins"
sys.path.insert(0, str(PLUGINS))


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and those that it starts find the plugins of the tests."""
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))


class StopAfter(Callback):
    """Interrupts a run after some rounds, as Ctrl-C would."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds

    def on_round(self, *args: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.fixture
def interrupted(tmp_path: Path) -> Callable[..., Path]:
    """Start a run that is interrupted after its first checkpoint or later, and return its folder."""

    def start(rounds: int = 2, **arguments: Any) -> Path:
        folder = tmp_path / "run"
        given = {
            "scenario": "digits",
            "seeds": [0],
            "arms": ["clustered"],
            "overrides": ["rounds=3", "training.epochs=1"],
            **arguments,
        }
        with pytest.raises(KeyboardInterrupt):
            semfed.run(out=folder, callbacks=[StopAfter(rounds)], **given)
        return folder

    return start


@pytest.fixture
def command() -> Callable[..., subprocess.Popen[str]]:
    """Start ``semfed`` as a process of its own, at the head of a group.

    A shell lets what it runs in the background ignore Ctrl-C, and children inherit that: it is undone here.
    """

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "semfed.cli", *arguments],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return start


@pytest.fixture
def results() -> Callable[[Path], dict[str, str]]:
    """Hashes of all that a run measured and learned."""

    def read(folder: Path) -> dict[str, str]:
        paths = [folder / "metrics.jsonl", folder / "outcomes.jsonl"]
        paths += sorted(path for kind in ("parameters", "samples", "models") for path in folder.glob(f"{kind}/**/*.*"))
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    return read


@pytest.fixture
def records() -> Callable[[Path], list[dict[str, Any]]]:
    """The history of a run, whole or not."""
    return lambda folder: [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def await_rounds() -> Callable[[Path, int, subprocess.Popen[str]], None]:
    """Wait until a run has told so many rounds, or the process that runs it has ended."""

    def wait(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
        deadline, path = time.monotonic() + 600, folder / "timing.jsonl"
        while process.poll() is None and not (path.exists() and path.read_bytes().count(b"\n") >= count):
            assert time.monotonic() < deadline, f"{folder} has no {count} rounds"
            time.sleep(0.005)

    return wait
