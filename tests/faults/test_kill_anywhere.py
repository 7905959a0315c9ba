"""A run that is killed again and again ends with the numbers of one that was not, bit for bit."""

import itertools
import multiprocessing
import random
import signal
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import killing
import pytest

import semfed

PRESETS: list[tuple[str, list[str], list[str]]] = [
    ("digits", ["clustered", "individual"], ["rounds=4", "training.epochs=1"]),
    ("fedcl-digits", ["fedcl", "fedproto", "fedavg", "local"], ["rounds=2"]),
    ("alignment-digits", ["shared", "multi-link"], ["rounds=3"]),
]
AT_LEAST = 20


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """Processes that have everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["semfed.experiment.api", "semfed.engine.local", "killing"])
    return context


def start(processes: ForkServerContext, folder: Path, preset: Any, event: str = "", number: int = 0) -> Any:
    scenario, arms, overrides = preset
    given = {"scenario": scenario, "arms": arms, "seeds": [0], "overrides": overrides, "resume": folder}
    process = processes.Process(target=killing.run, args=(event, number, given))
    process.start()
    return process


def ended(process: Any) -> bool:
    """Whether a process came to the end of its run; otherwise it was killed, and nothing else."""
    process.join(timeout=120)
    assert process.exitcode in (0, -signal.SIGKILL)
    return bool(process.exitcode == 0)


@pytest.fixture(scope="module", params=PRESETS, ids=[name for name, _, _ in PRESETS])
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    scenario, arms, overrides = request.param
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    semfed.run(scenario, arms=arms, seeds=[0], overrides=overrides, out=out)
    return request.param, out


def test_killed_at_every_boundary_and_in_every_kind_of_write(
    undisturbed: tuple[Any, Path], processes: Any, results: Callable[[Path], Any], tmp_path: Path
) -> None:
    """Before and after every round's checkpoint, after every arm, and in the middle of files."""
    preset, whole = undisturbed
    events = itertools.cycle(["on_round", "on_checkpoint", "write", "on_arm_end"])
    for kills in itertools.count():
        if ended(start(processes, tmp_path / "run", preset, next(events), number=kills % 11)):
            break
    rounds = len((whole / "timing.jsonl").read_text().splitlines())
    assert kills >= rounds
    assert results(tmp_path / "run") == results(whole)


def test_killed_at_random_moments(
    undisturbed: tuple[Any, Path], processes: Any, results: Callable[[Path], Any], tmp_path: Path
) -> None:
    preset, whole = undisturbed
    draw, kills, attempt = random.Random(0), 0, 0
    while kills < AT_LEAST:
        attempt += 1
        folder = tmp_path / f"run{attempt}"
        while True:
            process = start(processes, folder, preset)
            process.join(timeout=draw.uniform(0.0, 1.5))
            process.kill()
            if ended(process):
                break
            kills += 1
        assert results(folder) == results(whole)
