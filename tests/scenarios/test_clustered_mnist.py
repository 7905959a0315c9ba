"""The preset of arXiv 2601.17419 on real MNIST: exact facts in every run, the bars in the long one."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed.scenario import built_in, overrides

EXACT = {
    "label-index": ([0.607775, 0.965133, 0.716298], 0.786454, [[0, 2], [1]]),
    "complement": ([0.248579, 0.0, 0.0], 0.124290, [[0, 1], [2]]),
    "named": ([0.646936, 0.0, 0.0], 0.323468, [[0, 1], [2]]),
}


@pytest.mark.parametrize("alphabet", EXACT)
def test_similarities_threshold_and_clusters(alphabet: str, data_root: Path, tmp_path: Path) -> None:
    done = semfed.run(
        "clustered-mnist",
        arms=["clustered", "individual"] if alphabet == "named" else ["clustered"],
        seeds=[0],
        overrides=["rounds=1", "training.epochs=1", f"strategy.alphabet={alphabet}"],
        data_root=data_root,
        out=tmp_path / "run",
    )
    similarity, gamma, clusters = EXACT[alphabet]
    found = done.summary["similarity"]
    assert [found[0][1], found[0][2], found[1][2]] == pytest.approx(similarity, abs=1e-6)
    assert done.summary["threshold"] == pytest.approx(gamma, abs=1e-6)
    assert done.summary["clusters"]["clustered"] == clusters
    assert done.summary["baselines"]["accuracy/t1"] == pytest.approx(0.8968)
    assert done.summary["baselines"]["accuracy/t2"] == pytest.approx(0.7833)
    assert done.summary["baselines"]["accuracy/t3"] == pytest.approx(0.9042)
    if alphabet == "named":
        arms = done.summary["arms"]
        assert arms["clustered"]["final"]["accuracy/t3"] == arms["individual"]["final"]["accuracy/t3"]


def overlap(p: float) -> float:
    """Similarity of a certain value and a distribution that has it with probability p: 1 - JS, worked out by hand."""
    return 1 - (math.log2(2 / (1 + p)) + p * math.log2(2 * p / (1 + p)) + 1 - p) / 2


def test_task_2_with_ten_values_runs_although_its_satellite_lacks_six_of_them(data_root: Path, tmp_path: Path) -> None:
    done = semfed.run(
        "clustered-mnist",
        arms=["clustered"],
        seeds=[0],
        overrides=["rounds=3", "clients.Sat 2.task=t2-digits"],
        data_root=data_root,
        out=tmp_path / "run",
    )
    similarity = done.summary["similarity"]
    images = 2552 + 2079 + 500 + 500  # of 1, 2, 3 and 6; tasks 1 and 3 name the 2 and the 6
    s12, s23 = overlap(2079 / images), overlap(500 / images)
    assert [similarity[0][1], similarity[0][2], similarity[1][2]] == pytest.approx([s12, 0, s23], abs=1e-12)
    assert [s12, s23] == pytest.approx([0.575725, 0.221911], abs=1e-6)
    assert done.summary["threshold"] == pytest.approx(s12 / 2)
    assert done.summary["clusters"]["clustered"] == [[0, 1], [2]]
    assert done.summary["baselines"]["accuracy/t2-digits"] == pytest.approx(0.1135)
    assert 0.2 < done.summary["arms"]["clustered"]["final"]["accuracy/t2-digits"]["mean"] < 0.44  # four digits of ten


def check_bars(arms: dict[str, Any]) -> None:
    """The bars at the foot of the specification, in points."""

    def final(arm: str, task: str) -> dict[str, float]:
        return {seed: 100 * v for seed, v in arms[arm]["final"][f"accuracy/{task}"]["values"].items()}

    def mean(values: dict[str, float]) -> float:
        return sum(values.values()) / len(values)

    clustered, individual = final("clustered", "average"), final("individual", "average")
    assert mean(clustered) >= 86.0
    assert mean(clustered) - mean(individual) >= 1.5
    assert sum(clustered[seed] > individual[seed] for seed in clustered) >= 4
    rounds = [100 * arms[arm]["round_mean"]["accuracy/average"]["mean"] for arm in ("clustered", "unclustered")]
    assert rounds[0] - rounds[1] >= 1.0
    assert mean(final("clustered", "t1")) - mean(final("individual", "t1")) >= 3.0
    assert final("clustered", "t3") == final("individual", "t3")
    assert mean(clustered) - mean(final("wrong-clusters", "average")) >= 1.0


def within(part: Any, whole: Any) -> bool:
    """Whether a tree of tables says nothing that another one does not say; new settings may have come since."""
    if isinstance(part, dict):
        return all(key in whole and within(value, whole[key]) for key, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(within, part, whole))
    return bool(part == whole)


def test_committed_results_are_of_this_preset_and_meet_the_bars() -> None:
    file = built_in()["clustered-mnist"].parent / "results" / "clustered-mnist.json"
    result = json.loads(file.read_text())
    assert within(result["settings"], overrides.load("clustered-mnist").tree()), "run make bench again"
    check_bars(result["arms"])


UNIT_POWER = ("clustered-unit-power", "unclustered-unit-power", "individual-unit-power")


def test_arms_at_unit_power_are_received_at_the_nominal_snr(data_root: Path, tmp_path: Path) -> None:
    """Sigma 0.5 on unit power is 6.02 dB; an image whose features are all 0 sends nothing, hence the tolerance."""
    short = ["rounds=1", "training.epochs=1"]
    done = semfed.run("clustered-mnist", arms=["clustered", *UNIT_POWER], seeds=[0], overrides=short,
                      data_root=data_root, out=tmp_path / "run")  # fmt: skip
    final = {arm: found["final"] for arm, found in done.summary["arms"].items()}
    for arm in UNIT_POWER:
        assert final[arm]["power/transmit"]["mean"] == pytest.approx(1, abs=0.02)
        assert final[arm]["snr/received-db"]["mean"] == pytest.approx(6.0206, abs=0.1)
    assert abs(final["clustered"]["power/transmit"]["mean"] - 1) > 0.1


@pytest.mark.slow
def test_the_bars_hold(data_root: Path, tmp_path: Path) -> None:
    done = semfed.run("clustered-mnist", data_root=data_root, out=tmp_path / "run")
    check_bars(done.summary["arms"])


@pytest.mark.flower
@pytest.mark.long
def test_the_same_numbers_in_flowers_simulation(data_root: Path, tmp_path: Path) -> None:
    lines = [
        semfed.run("clustered-mnist", engine=engine, seeds=[0], arms=["clustered", "individual"],
                   overrides=["rounds=2"], data_root=data_root, out=tmp_path / engine)
        .folder.joinpath("metrics.jsonl").read_text()
        for engine in ("inprocess", "flower")
    ]  # fmt: skip
    assert lines[0] == lines[1]
