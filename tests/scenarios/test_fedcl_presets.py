"""The FedCL presets: complete, overridable as scripts expect, and as good as the specification asks."""

import json
from pathlib import Path

import pytest

import semfed
from semfed.scenario import built_in, overrides

PRESETS = ("fedcl-cifar10", "fedcl-cifar10-k20", "fedcl-digits")


def assert_bars(final: dict[str, float]) -> None:
    """K = 5, 30 rounds, 10 dB, own-class accuracy."""
    assert final["fedcl"] >= 0.60
    assert final["fedcl"] >= final["fedavg"] + 0.12
    assert final["fedcl"] >= final["fedproto"] - 0.02
    assert final["fedcl"] >= final["local"] - 0.015


def test_committed_results_meet_the_bars() -> None:
    file = built_in()["fedcl-cifar10"].parent / "results" / "fedcl-cifar10.json"
    arms = json.loads(file.read_text())["arms"]
    assert_bars({name: arm["final"]["accuracy/own-classes"]["mean"] for name, arm in arms.items()})


@pytest.mark.slow
def test_one_seed_meets_the_bars_on_real_data(tmp_path: Path, data_root: Path) -> None:
    done = semfed.run("fedcl-cifar10", seeds=[0], data_root=data_root, out=tmp_path / "run")
    arms = done.summary["arms"]
    assert_bars({name: arm["final"]["accuracy/own-classes"]["mean"] for name, arm in arms.items()})


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_four_arms_and_the_settings_that_scripts_rely_on(name: str) -> None:
    changes = ["rounds=3", "channel.snr_db=7", "data.m=2", "data.q=5", "arms.fedcl.lambda_ms=2"]
    scenario = overrides.load(name, [*changes, "arms.fedproto.lambda_ms=3"])
    fresh = ("fedavg-fresh",) if name == "fedcl-cifar10" else ()
    assert scenario.arm_names == ("fedcl", "fedproto", "fedavg", *fresh, "local")
    for arm in scenario.arm_names:
        complete = scenario.arm(arm)
        assert complete.training.optimizer_state == ("fresh" if arm in fresh else "kept")
        assert complete.headline == "accuracy/own-classes"
        assert (complete.rounds, complete.channel.settings.snr_db) == (3, 7)
        assert (complete.data.partition.settings.m, complete.data.partition.settings.q) == (2, 5)
    assert scenario.arm("fedcl").strategy.settings.lambda_ms == 2
    assert scenario.arm("fedproto").strategy.settings.lambda_ms == 3
    assert overrides.load(name).arm("fedcl").strategy.settings.lambda_ms == 5


def test_the_heterogeneous_preset_has_five_architectures() -> None:
    scenario = overrides.load("fedcl-cifar10-heterogeneous")
    assert len({str(client.encoder.dump()) for client in scenario.clients if client.encoder}) == 5
    assert "fedavg" not in scenario.arm_names


def test_the_embedded_preset_reports_baselines_and_figures(tmp_path: Path) -> None:
    short = ["rounds=2", "clients.count=3", "data.q=12"]
    done = semfed.run("fedcl-digits", seeds=[0], overrides=short, out=tmp_path / "run")
    assert done.summary["baselines"]["chance/own-classes"] == pytest.approx(0.1)
    assert 0.3 < done.summary["baselines"]["accuracy/own-classes"] < 0.4
    from semfed.report import plots

    drawn = {path.stem for path in plots.plot(done.folder)}
    assert {"accuracy-own-classes-vs-round", "accuracy-vs-test-snr"} <= drawn
