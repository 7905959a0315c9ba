"""Tests at other SNRs: the noise of the channel that really transmits, and what it does to the accuracy."""

from pathlib import Path
from typing import Any

import pytest

import semfed

ASKED = (-30.0, 0.0, 40.0)
EVERYONE_OWNS_ALL = ["data.m=10", "data.q=10"]
"""Then chance is 10 %, whichever classes a decoder prefers."""


@pytest.fixture(scope="module")
def tested(capture: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    points = f"learner.test_snr_db={list(ASKED)}"
    overrides = [*EVERYONE_OWNS_ALL, "rounds=4", points, f"arms.fedavg.{points}"]
    with pytest.MonkeyPatch.context() as patch:
        noted = capture(patch, "awgn")
        run = semfed.run("fedcl-digits", arms=["fedcl", "fedavg"], seeds=[0], overrides=overrides,
                         out=tmp_path_factory.mktemp("tested") / "run")  # fmt: skip
    return noted, run.summary["arms"]


@pytest.mark.parametrize("snr_db", ASKED)
def test_joint_and_split_clients_are_tested_in_the_noise_that_is_asked_for(tested: Any, snr_db: float) -> None:
    assert tested[0][snr_db]
    for one in tested[0][snr_db]:
        assert one.sent == pytest.approx(1, abs=1e-4)
        assert one.snr_db == pytest.approx(snr_db, abs=one.tolerance_db)


@pytest.mark.parametrize("arm", ["fedcl", "fedavg"])
def test_accuracy_in_nothing_but_noise_is_chance(tested: Any, arm: str) -> None:
    at = {snr_db: tested[1][arm]["final"][f"accuracy-at-{snr_db:g}dB/own-classes"]["mean"] for snr_db in ASKED}
    assert at[-30.0] == pytest.approx(0.1, abs=0.03)
    assert at[-30.0] + 0.2 < at[0.0] < at[40.0]


def test_receivers_of_a_broadcast_are_tested_in_the_noise_that_is_asked_for(
    capture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = capture(monkeypatch, "rayleigh")
    overrides = ["data.source=digits", "training.epochs=1", "learner.test_snr_db=[-20, 3, 30]",
                 "learner.snr_offset_db.t1=-6"]  # fmt: skip
    run = semfed.run("mtoc-mnist", arms=["mtoc"], seeds=[0], overrides=overrides, out=tmp_path / "run")
    for snr_db in (-26, -3, 24, -20, 3, 30):
        assert noted[snr_db]
        for one in noted[snr_db]:
            assert one.sent == pytest.approx(1, abs=1e-4)
            assert one.snr_db == pytest.approx(snr_db, abs=one.tolerance_db)
    final = run.summary["arms"]["mtoc"]["final"]
    assert final["power/transmit"]["mean"] == pytest.approx(1, abs=1e-4)
    assert final["snr/received-db/t1"]["mean"] == pytest.approx(-3, abs=0.25)
    assert final["snr/received-db/t2"]["mean"] == pytest.approx(3, abs=0.25)
