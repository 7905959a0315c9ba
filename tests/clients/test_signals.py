"""Every learner tells the power that its last test was sent with, and the SNR that it was received with."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed.runs.folder import each_record

IOPM = ["data.source=digits", "rounds=2", "learner.common.epochs=1", "training.batch_size=20", "channel.uses=16",
]  # fmt: skip
RUNS = [
    ("digits", "clustered", "awgn", ["rounds=2", "training.epochs=1"], 1),
    ("digits", "individual", "awgn", ["rounds=2", "training.epochs=1", "channel.power=batch"], 1),
    ("fedcl-digits", "fedcl", "awgn", ["rounds=1", "learner.global_test=never", "learner.test_snr_db=[]"], 1),
    (
        "fedcl-digits",
        "fedavg",
        "awgn",
        [
            "rounds=1",
            "arms.fedavg.learner.global_test=never",
            "arms.fedavg.learner.test_snr_db=[]",
            "channel.power=none",
        ],
        1,
    ),
    ("mtoc-mnist", "mtoc", "rayleigh", ["data.source=digits", "training.epochs=1", "channel.power=none"], 2),
    ("iopm-mnist", "gaussian-prior", "awgn", IOPM, 2),
]
"""Scenario, arm, channel, overrides and transmissions (receptions of a broadcast) of one client's test."""


@pytest.mark.parametrize(("scenario", "arm", "channel", "overrides", "parts"), RUNS, ids=lambda value: str(value)[:20])
def test_power_and_snr_of_every_client_are_those_on_the_air(
    scenario: str,
    arm: str,
    channel: str,
    overrides: list[str],
    parts: int,
    capture: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted = capture(monkeypatch, channel)
    run = semfed.run(scenario, arms=[arm], seeds=[0], overrides=overrides, out=tmp_path / "run")
    heard = noted[run.scenario.arm(arm).channel.settings.snr_db]
    clients = [client.name for client in run.scenario.clients]
    last = heard[-parts * len(clients) :]
    rounds = run.scenario.arm(arm).rounds
    told = {(r.client, r.metric): r.value for r in each_record(run.folder) if r.round == rounds}
    powers, ratios = [], []
    for k, client in enumerate(clients):
        own = last[parts * k : parts * (k + 1)]
        powers.append(sum(one.sent for one in own) / parts)
        ratios.append(sum(one.arrived for one in own) / sum(one.noise for one in own))
        assert told[client, "power/transmit"] == pytest.approx(powers[-1], rel=1e-4)
        assert told[client, "snr/received-db"] == pytest.approx(10 * math.log10(ratios[-1]), abs=1e-2)
    final = run.summary["arms"][arm]["final"]
    assert final["power/transmit"]["mean"] == pytest.approx(sum(powers) / len(powers), rel=1e-4)
    assert final["snr/received-db"]["mean"] == pytest.approx(10 * math.log10(sum(ratios) / len(ratios)), abs=1e-2)


def test_a_run_without_noise_writes_valid_json(tmp_path: Path) -> None:
    overrides = ["rounds=1", "training.epochs=1", "channel.snr_db=inf"]
    run = semfed.run("digits", arms=["clustered"], seeds=[0], overrides=overrides, out=tmp_path / "run")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    for line in (run.folder / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    summary = json.loads((run.folder / "summary.json").read_text(), parse_constant=refuse)
    assert summary["arms"]["clustered"]["final"]["snr/received-db"]["mean"] == 300.0
