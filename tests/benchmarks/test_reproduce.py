"""Results files: what they hold, and that the tool makes them again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from semfed.runs.folder import declarations
from semfed.runs.results import differences
from semfed.scenario.overrides import load

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "benchmarks" / "reproduce.py"
CHANGES = ["--set", "rounds=2", "--set", "training.epochs=1"]
COMMAND = ["semfed", "run", "digits", "--seeds", "0-2", "--arms", "clustered,individual", *CHANGES]


def reproduce(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("x") / "results" / "short.json"
    asked = ["--reference", "individual", "--round", "1", "--figure", "similarity"]
    done = reproduce("--about", "A short one.", *asked, file, "--", *COMMAND)
    assert done.returncode == 0, done.stderr
    return file


@pytest.mark.long
def test_a_result_holds_what_makes_it_and_what_it_says(made: Path) -> None:
    result = json.loads(made.read_text())
    assert result["command"].split() == COMMAND
    scenario = load("digits", ["rounds=2", "training.epochs=1"], arms=["clustered", "individual"], seeds=[0, 1, 2])
    assert result["scenario_sha256"] == scenario.digest
    assert len(result["commit"].removesuffix("-dirty")) == 40
    assert {"torch", "numpy", "flwr", "semfed"} <= set(result["packages"])
    final = {arm: kinds["final"]["accuracy/average"] for arm, kinds in result["arms"].items()}
    assert all(set(entry["values"]) == {"0", "1", "2"} for entry in final.values())
    assert set(result["arms"]["clustered"]["at_round"]) == {"1"}
    pairs = [list(final[arm]["values"].values()) for arm in ("clustered", "individual")]
    told = result["differences"]["clustered"]
    assert told["reference"] == "individual"
    expected = stats.ttest_rel(*pairs).confidence_interval(0.95)
    assert told["final"]["accuracy/average"]["ci95"] == pytest.approx([expected.low, expected.high])
    assert made.with_name("short-similarity.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_a_result_is_made_again_and_a_check_finds_what_differs(made: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    copy = tmp_path / "results" / "short.json"
    copy.write_text(made.read_text())
    assert (again := reproduce("--check", copy)).returncode == 0, again.stderr
    assert "the same numbers" in again.stdout
    wrong = json.loads(copy.read_text())
    wrong["arms"]["clustered"]["final"]["accuracy/average"]["values"]["1"] += 0.001
    copy.write_text(json.dumps(wrong))
    found = reproduce("--check", copy)
    assert found.returncode == 1
    assert "arms.clustered.final.accuracy/average.values.1" in found.stdout
    assert "1 entries differ" in found.stdout
    assert json.loads(copy.read_text()) == wrong
    assert list(copy.parent.iterdir()) == [copy]  # a check leaves no figures behind either
    assert reproduce(copy).returncode == 0
    assert json.loads(copy.read_text()) == json.loads(made.read_text())


def test_a_file_without_a_command_is_refused_with_a_remedy(tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    file.write_text('{"description": "taken by hand"}')
    refused = reproduce(file)
    assert refused.returncode == 1
    assert "it holds no command, so it cannot be made again; give one" in refused.stderr
    assert file.read_text() == '{"description": "taken by hand"}'


def test_arms_of_a_sweep_are_compared_at_the_same_value() -> None:
    scenario = load("digits", arms=["clustered", "individual"], seeds=[0, 1], sweep="channel.snr_db=0,5")

    def arm(*values: float) -> dict[str, Any]:
        entry = {"values": {str(seed): value for seed, value in enumerate(values)}}
        return {kind: {"accuracy/average": entry, "cost/bytes_up": entry} for kind in ("final", "round_mean")}

    arms = {"clustered@0": arm(1, 2), "clustered@5": arm(3, 4), "individual@0": arm(0, 0), "individual@5": arm(1, 3)}
    found = differences(arms, scenario, declarations(scenario), "individual")
    assert {name: told["reference"] for name, told in found.items()} == {
        "clustered@0": "individual@0",
        "clustered@5": "individual@5",
    }
    assert found["clustered@5"]["final"]["accuracy/average"]["values"] == {"0": 2, "1": 1}
    assert list(found["clustered@5"]["final"]) == ["accuracy/average"]
    with pytest.raises(ValueError, match="reference = 'none' is no arm of the run: take one of"):
        differences(arms, scenario, declarations(scenario), "none")
