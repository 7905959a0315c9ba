"""The forward and backward phases through every engine."""

from pathlib import Path

import pytest

import semfed

pytestmark = pytest.mark.flower


@pytest.mark.parametrize("engine", ["ray", "flower"])
def test_the_split_exchange_gives_the_same_numbers_as_in_process(tmp_path: Path, engine: str) -> None:
    short = ["rounds=2", "clients.count=3", "data.q=12", "training.batch_size=12"]
    told = []
    for name in ("inprocess", engine):
        done = semfed.run(
            "fedcl-digits", engine=name, arms=["fedcl", "local"], seeds=[0], overrides=short, out=tmp_path / name
        )
        told.append([(done.folder / file).read_text() for file in ("metrics.jsonl", "outcomes.jsonl")])
    assert told[0] == told[1]
