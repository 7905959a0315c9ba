"""A partition of somebody else, in a scenario by ``module:attribute``."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import semfed
from semfed.data.partitions import deal
from semfed.errors import DataError, ScenarioError
from semfed.scenario import overrides, plugins

DEALER = """
import numpy as np

from semfed.data.partitions import Partition
from semfed.scenario.settings import StrictModel


class Alternating(Partition):
    class Settings(StrictModel):
        skip: int = 0
        spoilt: str = ""

        def check(self, scenario):
            if self.skip >= 400 * len(scenario.clients):
                raise ValueError("data.partition.skip leaves nothing; lower it")

    def deal(self, labels, classes, clients, generator):
        parts = [np.arange(len(labels))[self.settings.skip + k :: clients][::-1] for k in range(clients)]
        spoilt = {"twice": parts[0], "outside": parts[0] + 3, "negative": parts[1] - 999, "floats": parts[1] / 1}
        parts[1] = spoilt.get(self.settings.spoilt, parts[1])
        return parts[1:] if self.settings.spoilt == "few" else parts
"""
LABELS = np.zeros(9, dtype=np.int64)


@pytest.fixture
def dealer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module whose name no other test uses, on Python's path."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"dealer_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(DEALER)
    return f"{name}:Alternating"


def test_it_deals_in_a_run(dealer: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"data.partition": {"name": dealer, "skip": 1198}, "rounds": 1, "training.epochs": 1}
    scenario = overrides.load("digits", changes, arms="individual", seeds=0)
    assert scenario.tree()["data"]["partition"] == {"name": dealer, "skip": 1198, "spoilt": ""}
    assert overrides.load(scenario.tree()) == scenario
    semfed.run(scenario, out=tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    used = {r["client"]: r["value"] for r in records if r["metric"] == "cost/channel_uses"}
    assert used == {f"Sat {k}": 8 * 20 for k in (1, 2, 3)}  # 8 an image; 1258 images less 1198, by three


def test_its_rows_are_sorted_and_its_settings_checked(dealer: str) -> None:
    rows = deal(plugins.parse("partitions", {"name": dealer}), LABELS, ("a",), 2, np.random.default_rng(0))
    assert [part.tolist() for part in rows] == [[0, 2, 4, 6, 8], [1, 3, 5, 7]]
    with pytest.raises(ScenarioError, match=r"data\.partition\.skip leaves nothing"):
        overrides.load("digits", {"data.partition": {"name": dealer, "skip": 1200}})
    with pytest.raises(ScenarioError, match="unknown setting 'skp'; did you mean 'skip'"):
        overrides.load("digits", {"data.partition": {"name": dealer, "skp": 1}})


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ("twice", "gives one image twice"),
        ("outside", "gives row 11, with 9 images for training"),
        ("negative", "gives row -992, with 9 images for training"),
        ("floats", r"gives float64 of shape \(4,\) instead of row indices"),
        ("few", "gives rows to 1 clients instead of 2"),
    ],
)
def test_what_it_may_not_deal_is_refused(dealer: str, spoilt: str, words: str) -> None:
    choice = plugins.parse("partitions", {"name": dealer, "spoilt": spoilt})
    with pytest.raises(DataError, match=f"partition '{dealer}' {words}: mend the partition"):
        deal(choice, LABELS, ("a",), 2, np.random.default_rng(0))
