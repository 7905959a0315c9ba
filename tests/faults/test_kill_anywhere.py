"""A run that is killed again and again ends with the numbers of one that was not, bit for bit."""

import itertools
import multiprocessing
import random
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import killing
import pytest

import semfed

SMALL = ("digits", ["clustered", "individual"], ["rounds=3", "training.epochs=1"])
PRESETS: list[Any] = [
    pytest.param(SMALL, id="digits"),
    pytest.param(("fedcl-digits", ["fedcl", "fedproto", "fedavg", "local"], ["rounds=2"]), id="fedcl-digits",
                 marks=pytest.mark.long),
    pytest.param(("alignment-digits", ["shared", "multi-link"], ["rounds=3"]), id="alignment-digits",
                 marks=pytest.mark.long),
]  # fmt: skip
AT_LEAST = 8
"""Random kills of every preset, beside those at the boundaries of rounds: more than 20 of each kind in all."""


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """Processes that have everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killing"])
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


@pytest.fixture(scope="module", params=PRESETS)
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    scenario, arms, overrides = request.param
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    semfed.run(scenario, arms=arms, seeds=[0], overrides=overrides, out=out)
    return request.param, out


def test_killed_at_every_boundary(
    undisturbed: tuple[Any, Path], processes: Any, results: Callable[[Path], Any], tmp_path: Path
) -> None:
    """Before and after every checkpoint of a round, and before that of an arm."""
    preset, whole = undisturbed
    folder, rounds = tmp_path / "run", len((whole / "timing.jsonl").read_text().splitlines())
    for kills in itertools.count():
        if ended(start(processes, folder, preset, ("on_round", "on_checkpoint")[kills % 2])):
            break
    assert kills >= 2 * (rounds - len(preset[1]))  # round 0 of an arm has no checkpoint
    assert results(folder) == results(whole)
    assert not ended(start(processes, tmp_path / "arm", preset, "on_arm_end"))
    assert ended(start(processes, tmp_path / "arm", preset))
    assert results(tmp_path / "arm") == results(whole)


@pytest.mark.long
def test_killed_in_the_middle_of_every_file(
    undisturbed: tuple[Any, Path], processes: Any, results: Callable[[Path], Any], tmp_path: Path
) -> None:
    """In the first write, in the second, and so on: scenario, states of clients, checkpoints, parameters, summary."""
    preset, whole = undisturbed
    for kills in itertools.count():
        if ended(start(processes, tmp_path / "run", preset, "write", kills)):
            break
    assert kills >= AT_LEAST
    assert results(tmp_path / "run") == results(whole)


@pytest.mark.long
def test_killed_at_random_moments(
    undisturbed: tuple[Any, Path], processes: Any, results: Callable[[Path], Any], tmp_path: Path
) -> None:
    preset, whole = undisturbed
    draw, kills, attempt = random.Random(0), 0, 0
    began = time.monotonic()
    assert ended(start(processes, tmp_path / "unhurried", preset))
    longest = time.monotonic() - began
    while kills < AT_LEAST:
        attempt += 1
        folder = tmp_path / f"run{attempt}"
        while True:
            process = start(processes, folder, preset)
            process.join(timeout=draw.uniform(0.0, longest))
            process.kill()
            if ended(process):
                break
            kills += 1
            longest *= 1.05  # a machine that has become slower must not keep the run from ending
        assert results(folder) == results(whole)
