"""The forward and backward phases in Flower's own simulation; for Ray see `test_ray`."""

from pathlib import Path

import pytest

import semfed


@pytest.mark.flower
@pytest.mark.long
def test_the_split_exchange_gives_the_same_numbers_as_in_process(tmp_path: Path) -> None:
    short = ["rounds=2", "clients.count=3", "data.q=12", "training.batch_size=12"]
    told = []
    for engine in ("inprocess", "flower"):
        done = semfed.run(
            "fedcl-digits", engine=engine, arms=["fedcl", "local"], seeds=[0], overrides=short, out=tmp_path / engine
        )
        told.append([(done.folder / file).read_text() for file in ("metrics.jsonl", "outcomes.jsonl")])
    assert told[0] == told[1]
