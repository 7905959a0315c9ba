"""What a growing run folder says, as its own run would have said it: every cut gives the same order."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import semfed
from semfed.errors import RunFolderError
from semfed.events.callbacks import Callback
from semfed.events.records import Record
from semfed.runs import folder as folders
from semfed.runs.follower import Follower

from .test_grid import GIVEN


class Heard(Callback):
    """All that is told of trials, without what is measured in seconds."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_arm_start(self, arm: str, seed: int) -> None:
        self.told.append(("start", arm, seed))

    def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
        self.told.append(("round", arm, seed, round_, tuple(records)))

    def on_networks(self, arm: str, seed: int, networks: Any) -> None:
        tables = {kind: {n: a.tobytes() for n, a in getattr(networks, kind).items()} for kind in ("own", "shared")}
        about = (networks.client, networks.round, dict(networks.received), dict(networks.images), networks.problem)
        self.told.append(("networks", arm, seed, about, tables))

    def on_arm_end(self, arm: str, seed: int, outcome: Any) -> None:
        arrays = {name: np.asarray(array).tobytes() for name, array in (outcome.arrays | outcome.samples).items()}
        self.told.append(("end", arm, seed, arrays, outcome.details, outcome.baselines, outcome.best_round))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A run, and what its callbacks heard."""
    heard, small = Heard(), {**GIVEN, "sweep": None}
    done = semfed.run(**small, jobs=1, out=tmp_path_factory.mktemp("ran") / "run", callbacks=[heard])
    return done.folder, heard.told


def test_a_complete_folder_says_what_its_run_said(ran: tuple[Path, list[Any]]) -> None:
    folder, told = ran
    heard = Heard()
    Follower(folder, [heard]).pass_on()
    assert {one[0] for one in told} == {"start", "round", "networks", "end"}
    assert heard.told == told


@given(st.data())
def test_a_growing_folder_says_the_same_wherever_it_is_looked_at(ran: tuple[Path, list[Any]], data: Any) -> None:
    """Files are written in one order: records, time, ..., outcome; what is seen of them may end anywhere."""
    folder, told = ran
    writes = [*_writes(folder)]
    total = sum(len(line) for _, line in writes)
    cuts = sorted(data.draw(st.lists(st.integers(0, total), max_size=6)))
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("models", *folders.ARRAYS):
            if (folder / name).is_dir():
                (Path(scratch) / name).symlink_to(folder / name)
        heard = Heard()
        follower = Follower(Path(scratch), [heard])
        for cut in [*cuts, total]:
            seen, left = dict[str, bytes](), cut
            for name, line in writes:
                seen[name] = seen.get(name, b"") + line[:left]
                left -= min(left, len(line))
            for name, part in seen.items():
                (Path(scratch) / name).write_bytes(part)
            follower.pass_on()
    assert heard.told == told


def _writes(folder: Path) -> list[tuple[str, bytes]]:
    """Return lines with the names of their files, in the order in which a run writes them."""
    lines = {
        name: [line + b"\n" for line in (folder / name).read_bytes().split(b"\n")[:-1]] for name in folders.HISTORY
    }
    records, ordered = [*folders.each_record(folder)], []
    done = 0
    for timing in lines[folders.TIMING]:
        arm, seed, round_ = (json.loads(timing)[key] for key in ("arm", "seed", "round"))
        while done < len(records) and (records[done].arm, records[done].seed, records[done].round) == (
            arm,
            seed,
            round_,
        ):
            ordered.append((folders.METRICS, lines[folders.METRICS][done]))
            done += 1
        ordered.append((folders.TIMING, timing))
        if round_ == 2:
            ordered.append((folders.OUTCOMES, lines[folders.OUTCOMES].pop(0)))
    return ordered


def test_what_was_told_before_is_not_told_again(ran: tuple[Path, list[Any]]) -> None:
    folder, told = ran
    heard = Heard()
    first = (folder / folders.TIMING).read_bytes().index(b"\n") + 1
    count = sum(record.round == 0 and record.arm == "clustered" and record.seed == 0
                for record in folders.each_record(folder))  # fmt: skip
    records = b"".join(line + b"\n" for line in (folder / folders.METRICS).read_bytes().split(b"\n")[:count])
    Follower(folder, [heard], begin={folders.TIMING: first, folders.METRICS: len(records)}).pass_on()
    assert heard.told == [one for k, one in enumerate(told) if k != 1]
    late = Heard()
    Follower(folder, [late], after=1).pass_on()
    assert late.told == [one for one in told if one[0] != "round" or one[3] > 1]


def test_a_damaged_folder_is_told_of(ran: tuple[Path, list[Any]], tmp_path: Path) -> None:
    (tmp_path / folders.TIMING).write_text('{"arm": "a", "seed": 0}\n')
    with pytest.raises(RunFolderError, match="is damaged: KeyError"):
        Follower(tmp_path, []).pass_on()
