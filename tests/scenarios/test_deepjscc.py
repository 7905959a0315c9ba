"""deepjscc-cifar10: what its arms share, and the whole of it in seconds on small pictures."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import semfed
from semfed.data.partitions import deal
from semfed.report import plots
from semfed.runs.folder import read_records
from semfed.scenario import overrides

SMALL = [
    "data.source=digits", "data.partition.images=120", "data.partition.min_samples=8", "rounds=2",
    "training.lr=0.01", "learner.test_images=20",
]  # fmt: skip


@pytest.mark.parametrize(("uses", "ratio"), [(512, 1 / 6), (256, 1 / 12)])
def test_channel_uses_are_the_papers_ratios(uses: int, ratio: float) -> None:
    scenario = overrides.load("deepjscc-cifar10", [f"channel.uses={uses}"])
    settings = scenario.arm("federated").channel.settings
    assert settings.uses / (3 * 32 * 32) == pytest.approx(ratio)
    assert (settings.symbols, settings.power) == ("complex", "sample")


def test_the_pool_has_the_images_of_all_clients_and_no_other() -> None:
    scenario = overrides.load("deepjscc-cifar10")
    labels, names = np.repeat(np.arange(10), 5_000), tuple("abcdefghij")
    rows = {}
    for arm in ("federated", "pooled"):
        complete = scenario.arm(arm)
        rule, clients = complete.data.partition, len(complete.clients)
        rows[arm] = deal(rule, labels, names, clients, np.random.default_rng(0))
    assert [len(rows["federated"]), len(rows["pooled"])] == [5, 1]
    assert np.array_equal(np.sort(np.concatenate(rows["federated"])), rows["pooled"][0])
    assert np.bincount(labels[rows["pooled"][0]]).tolist() == [500] * 10
    shares = [np.bincount(labels[own], minlength=10).max() / len(own) for own in rows["federated"]]
    assert max(shares) > 0.2, "classes are skewed"


def test_the_whole_scenario_in_miniature(tmp_path: Path) -> None:
    trained = ["federated", "pooled"]
    run = semfed.run(
        "deepjscc-cifar10", overrides=SMALL, arms=trained, sweep="channel.uses=16,8", seeds=[0], out=tmp_path / "r"
    )
    arms = run.summary["arms"]
    assert list(arms) == ["federated@16", "pooled@16", "federated@8", "pooled@8"]
    for told in arms.values():
        psnr = [told["final"][f"psnr-at-{snr}dB/average"]["mean"] for snr in (-5, 0, 5, 10, 15, 20)]
        assert all(0 < value < 60 for value in psnr)
        assert len(set(psnr)) == 6
    assert "psnr-vs-test-snr" in plots.figures(run.folder)
    assert set(_tested(run.folder)) == {"federated@16", "pooled@16", "federated@8", "pooled@8"}


def _tested(folder: Path) -> Iterator[str]:
    """Yield the arms, and see that one client a round tests networks that all have."""
    records = [r for r in read_records(folder) if r.metric == "psnr/pictures"]
    for arm in dict.fromkeys(r.arm for r in records):
        rounds = [r.round for r in records if r.arm == arm and r.round]
        assert rounds == sorted(set(rounds))
        yield arm
