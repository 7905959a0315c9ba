"""The GPU's script, rehearsed on the CPU: what it compares, and that it keeps what it measured."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> Any:
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Elsewhere:
    """A generator as of a card: on a device that holds no values, since there is no card here."""

    device = torch.device("meta")

    def initial_seed(self) -> int:
        return 7


def test_draws_for_a_gpu_are_those_of_the_cpu(gpu: Any) -> None:
    mode, generator = gpu.DrawnOnCpu(), Elsewhere()
    drawn = mode.__torch_function__(torch.randn, (), ((3,),), {"generator": generator, "device": generator.device})
    assert drawn.device == generator.device
    reference = torch.Generator().manual_seed(7)
    torch.randn(3, generator=reference)
    assert torch.equal(torch.randn(4, generator=mode._twins[generator]), torch.randn(4, generator=reference))


def test_a_run_draws_through_the_mode(gpu: Any, tmp_path: Path) -> None:
    seen = []

    class Counting(gpu.DrawnOnCpu):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.extend([func.__name__] if (kwargs or {}).get("generator") is not None else [])
            return super().__torch_function__(func, types, args, kwargs)

    with Counting():
        gpu.run("digits", tmp_path, arms=["clustered"], seeds=[0], overrides=["rounds=1", "training.epochs=1"])
    assert {"randn", "randperm"} <= set(seen)


@pytest.mark.long
def test_the_rehearsal_writes_as_it_goes_and_says_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEMFED_DATA", raising=False)
    out = tmp_path / "gpu.json"
    command = [sys.executable, SCRIPT, "--device", "cpu", "--only", "presets,cohorts", "--out", out]
    subprocess.run(command, check=True, capture_output=True)
    told = json.loads(out.read_text())
    assert {name: figures["equal"] for name, figures in told["results"]["presets"].items()} == dict.fromkeys(
        ("alignment-digits", "digits", "fedcl-digits"), True
    )
    assert told["results"]["cohorts"] == {"left out": {"reason": "SEMFED_DATA is unset"}}
    assert told["bars"] == {"presets with equal losses": "3 of 3"}


def test_seeds_side_by_side_are_compared_with_one_after_the_other(gpu: Any, tmp_path: Path) -> None:
    one = {"mtoc-mnist": gpu.TINY.trials["mtoc-mnist"]}
    ((name, found),) = gpu.trials("cpu", tmp_path, dataclasses.replace(gpu.TINY, trials=one, seeds=2))
    assert found["relative_difference"] < gpu.TOLERANCE
    assert found["times"] == pytest.approx(found["alone_s"] / found["together_s"])
    bars = {"mtoc-mnist, 2 seeds side by side, times one after the other": found["times"]}
    assert gpu.bars({"trials": {name: found}}) == bars


def test_trials_whose_clients_train_alone_are_left_out_with_the_reason(gpu: Any, tmp_path: Path) -> None:
    sizes = gpu.Sizes(trials={"fedcl-digits": []})
    ((name, figures),) = gpu.trials("cpu", tmp_path, sizes)
    assert (name, figures) == ("fedcl-digits", {"left out": "it trains by a fit() of its own and not by an objective"})


def test_what_the_minutes_do_not_suffice_for_is_left_out(gpu: Any, tmp_path: Path) -> None:
    gpu.main(["--device", "cpu", "--tiny", "--minutes", "0", "--out", str(tmp_path / "gpu.json")])
    told = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert told == {step: {"left out": {"reason": "the rest, after 0 minutes"}} for step in gpu.STEPS}


@pytest.mark.long
def test_the_rehearsal_runs_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEMFED_DATA", raising=False)
    out = tmp_path / "gpu.json"
    subprocess.run([sys.executable, SCRIPT, "--device", "cpu", "--tiny", "--out", out], check=True, capture_output=True)
    told = json.loads(out.read_text())
    results = told["results"]
    assert list(results) == ["presets", "cohorts", "trials", "batchnorm", "syncs", "sharing"]
    assert not any(name in step for step in results.values() for name in ("failed", "left out"))
    assert list(results["cohorts"]) == ["on the CPU, one by one", "cohort 1", "cohort 4", "cohort auto"]
    assert list(results["batchnorm"]) == ["on the CPU, one by one", "cohort 1", "cohort 4"]
    assert [f["failed"] for f in results["sharing"].values()] == [0, 0]
    assert all(found["relative_difference"] < 1e-3 for found in results["trials"].values())
    assert results["syncs"]["W1, one round"]["items"] > 0
    assert set(told["bars"]) == {
        "W2, best cohort, times one after the other",
        "W2, best cohort, times the CPU",
        "mtoc-mnist, 3 seeds side by side, times one after the other",
        "iopm-mnist, 3 seeds side by side, times one after the other",
        "presets with equal losses",
    }
