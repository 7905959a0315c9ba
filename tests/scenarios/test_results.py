"""Figures in the READMEs of scenarios are those of the committed results."""

import json
import re
from pathlib import Path

import pytest

from semfed.experiment.report import percent
from semfed.scenario import built_in

FILES = [path.parent / "results" / f"{name}.json" for name, path in built_in().items()]


@pytest.mark.parametrize("file", [file for file in FILES if file.is_file()], ids=lambda file: file.stem)
def test_every_mean_and_spread_in_the_readme_was_measured(file: Path) -> None:
    result = json.loads(file.read_text())
    if "arms" not in result:
        pytest.skip("not a condensed run")
    measured = {percent(entry) for arm in result["arms"].values() for entry in arm["final"].values()}
    told = re.findall(r"\d+\.\d\d ± \d+\.\d\d", (file.parents[1] / "README.md").read_text())
    assert told
    assert set(told) <= measured
