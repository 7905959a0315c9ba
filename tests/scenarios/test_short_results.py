"""The first rounds of every scenario, cut down to seconds, against committed numbers.

``make expected`` writes the numbers anew, with the real data at hand. They are compared bit for bit where torch, NumPy
and the CPU's capability are those that they were made with. Elsewhere sums may round otherwise: there a number may be
off by `TOLERANCE`, and digests of parameters are not compared. What is run stands in the files, too.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import semfed
from semfed.runs.folder import each_line, read_records
from semfed.scenario import built_in

EXPECTED = Path(__file__).parent / "expected"
TOLERANCE = {"rel_tol": 0.01, "abs_tol": 0.02}
UNTRACKED = "cost/simulation_"
"""These costs hold the scenario's text, which grows with every new setting."""
QUICK = ("digits", "alignment-digits", "fedcl-digits")


def machine() -> dict[str, str]:
    """Return what bits depend on."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"cpu": capability, "torch": torch.__version__, "numpy": np.__version__}


def numbers(name: str, short: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run a scenario's beginning with seed 0; return its records as hexadecimal floats, and digests of parameters."""
    run = semfed.run(name, arms=short["arms"], seeds=[0], overrides=short["overrides"], out=folder)
    metrics = {
        f"{r.arm} {r.metric} {r.client or 'all'} {r.round}": float(r.value).hex()
        for r in read_records(run.folder)
        if not r.metric.startswith(UNTRACKED)
    }
    outcomes = [json.loads(line) for line in each_line(run.folder / "outcomes.jsonl")]
    return {"metrics": metrics, "parameters": {told["arm"]: told["parameters_sha256"] for told in outcomes}}


def test_every_scenario_has_a_short_result() -> None:
    assert sorted(path.stem for path in EXPECTED.glob("*.json")) == sorted(built_in())


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in sorted(built_in())]
)
def test_the_first_rounds_give_the_committed_numbers(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if name not in QUICK:
        request.getfixturevalue("data_root")
    path = EXPECTED / f"{name}.json"
    committed = json.loads(path.read_text())
    short = {key: committed[key] for key in ("arms", "overrides")}
    made = numbers(name, short, tmp_path / "run")
    if os.environ.get("REGENERATE"):
        path.write_text(json.dumps({**short, "machine": machine(), **made}, indent=1) + "\n")
    elif committed["machine"] == machine():
        assert made == {key: committed[key] for key in ("metrics", "parameters")}
    else:
        assert made["metrics"].keys() == committed["metrics"].keys()
        for metric, value in made["metrics"].items():
            found, expected = float.fromhex(value), float.fromhex(committed["metrics"][metric])
            assert math.isclose(found, expected, **TOLERANCE), f"{metric}: {found} instead of {expected}"
