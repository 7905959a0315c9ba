"""Summing up and comparing many trials is linear work, counted in steps of the interpreter, not in seconds."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import tomli_w

from semfed.events import strict_json
from semfed.events.metrics import FRAMEWORK, Metric, Metrics
from semfed.events.records import Record
from semfed.runs import folder as folders
from semfed.runs.formats import of_run
from semfed.runs.recorder import write_summary
from semfed.runs.side_by_side import gather
from semfed.runs.summary import of_folder
from semfed.scenario import Axis, Sweep

ACCURACY = Metric("accuracy", better="higher", fraction=True)


def big(folder: Path, *, arms: int, points: int, seeds: int) -> Path:
    """Write a grid of one round, with a record of accuracy and one of costs a trial."""
    folder.mkdir()
    axes = (Axis(setting="channel.snr_db", values=tuple(range(points))),)
    sweep = Sweep(axes=axes, arms=tuple(f"arm{k}" for k in range(arms)))
    names = list(sweep.points())
    tree = {"name": "big", "seeds": list(range(seeds)), "headline": "accuracy/average"}
    tree |= {"arms": [{"name": name} for name in names], "sweep": sweep.model_dump(mode="json")}
    (folder / folders.SCENARIO).write_text(tomli_w.dumps(tree))
    folders.write_atomically(folder / folders.DECLARED, strict_json.dumps(Metrics([*FRAMEWORK, ACCURACY]).to_table()))
    trials = [(name, seed) for seed in range(seeds) for name in names]
    records = [
        record
        for place, (name, seed) in enumerate(trials)
        for record in (
            Record(name, seed, 1, None, "accuracy/average", (37 * place % 101) / 101),
            Record(name, seed, 1, "c", "cost/bytes_up", 10.0),
        )
    ]
    (folder / folders.METRICS).write_text("".join(f"{record.to_json()}\n" for record in records))
    outcome = {"details": {"clusters": [[0]]}, "baselines": {}}
    lines = [strict_json.dumps({"arm": name, "seed": seed, **outcome}) for name, seed in trials]
    (folder / folders.OUTCOMES).write_text("".join(f"{line}\n" for line in lines))
    write_summary(folder, None)
    return folder


def steps(work: Callable[[], Any]) -> int:
    """Count the bytecode instructions that this package executes."""
    count = 0

    def step(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "opcode"
        return step

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        if "/semfed/" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("more", ["arms", "points", "seeds"])
def test_four_times_the_trials_are_four_times_the_work(tmp_path: Path, more: str) -> None:
    size = {"arms": 6, "points": 6, "seeds": 3}
    small, large = big(tmp_path / "a", **size), big(tmp_path / "b", **size | {more: 4 * size[more]})
    for work in (of_folder, lambda run: gather([run]), lambda run: of_run(run, "csv")):
        work(small)
        few, many = (steps(lambda run=run, work=work: work(run)) for run in (small, large))
        assert many < 4.05 * few, "what does not grow makes it less than four times, what grows faster more"
