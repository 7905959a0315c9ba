"""Multi-task learners give the same numbers in this process and in Flower's own simulation."""

from pathlib import Path

import pytest

import semfed
from semfed.runs.folder import read_records


@pytest.mark.flower
@pytest.mark.long
def test_common_and_specific_units_on_both_engines(tmp_path: Path) -> None:
    overrides = [
        "learner.common.rounds=1",
        "learner.common.epochs=1",
        "rounds=2",
        "data.source=digits",
        'data.partition={ name = "iid" }',
        "training.epochs=1",
        "learner.dre.centres=20",
    ]
    found = []
    for engine in ("inprocess", "flower"):
        options = {"arms": ["unclustered"], "seeds": [0], "overrides": overrides, "out": tmp_path / engine}
        run = semfed.run("iopm-federated", engine=engine, **options)
        found.append([r for r in read_records(run.folder) if not r.metric.startswith("cost/")])
    assert found[0] == found[1]
    assert any(record.metric == "rate/t2" for record in found[0])
