"""A run whose exchange converges before its rounds end, interrupted on either side of that."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import semfed

CHANGES = ["rounds=14", "training.epochs=2", "learner.classifier.epochs=1", "tolerance=0.01", "evaluate_every=5"]


def converged_after(folder: Path) -> int:
    (outcome,) = [json.loads(line) for line in (folder / "outcomes.jsonl").read_text().splitlines()]
    assert outcome["details"]["converged"]
    return int(outcome["details"]["settled_after"])


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_it_goes_on_to_the_same_numbers(
    interrupted: Callable[..., Path], results: Callable[[Path], Any], tmp_path: Path, before: bool
) -> None:
    given: dict[str, Any] = {"scenario": "alignment-digits", "arms": ["shared"], "overrides": CHANGES}
    semfed.run(seeds=[0], out=tmp_path / "undisturbed", **given)
    settled = converged_after(tmp_path / "undisturbed")
    assert 3 < settled < 12
    folder = interrupted(rounds=settled - 1 if before else settled + 2, **given)
    semfed.run(resume=folder)
    assert results(folder) == results(tmp_path / "undisturbed")
    assert converged_after(folder) == settled


def test_it_sends_no_precoder_afterwards(tmp_path: Path) -> None:
    done = semfed.run("alignment-digits", arms=["shared"], seeds=[0], overrides=CHANGES, out=tmp_path / "run")
    settled = converged_after(done.folder)
    records = [json.loads(line) for line in (done.folder / "metrics.jsonl").read_text().splitlines()]
    rounds = {m: {r["round"] for r in records if r["metric"] == m} - {0} for m in ("cost/bytes_up", "accuracy/digit")}
    assert rounds == {"cost/bytes_up": set(range(1, settled + 1)), "accuracy/digit": {5, 10, 14}}
