"""The GPU's script, rehearsed on the CPU: what it compares, and that it keeps what it measured."""

import dataclasses
import importlib
import importlib.util
import json
import math
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from semfed.algorithms.bottleneck import closed_form

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
ALONE = """
import runpy, socket, sys

class NoRay:
    def find_spec(self, name, path=None, target=None):
        assert name.partition(".")[0] != "ray", "ray is imported"

def refuse(*_):
    raise AssertionError("the network is asked for")

sys.meta_path.insert(0, NoRay())
socket.socket.connect = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script in a process without ray and without a network."""


@pytest.fixture(scope="module")
def gpu() -> Any:
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def step(gpu: Any) -> Any:
    """Import one of the script's modules, which finds them beside itself."""
    return lambda name: importlib.import_module(f"gpu_steps.{name}")


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEMFED_DATA", raising=False)


class Elsewhere:
    """A generator as of a card: on a device that holds no values, since there is no card here."""

    device = torch.device("meta")

    def initial_seed(self) -> int:
        return 7


def test_draws_for_a_gpu_are_those_of_the_cpu(step: Any) -> None:
    mode, generator = step("equality").DrawnOnCpu(), Elsewhere()
    drawn = mode.__torch_function__(torch.randn, (), ((3,),), {"generator": generator, "device": generator.device})
    assert drawn.device == generator.device
    reference = torch.Generator().manual_seed(7)
    torch.randn(3, generator=reference)
    assert torch.equal(torch.randn(4, generator=mode._twins[generator]), torch.randn(4, generator=reference))


def test_a_run_draws_through_the_mode(step: Any, tmp_path: Path) -> None:
    seen = []

    class Counting(step("equality").DrawnOnCpu):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.extend([func.__name__] if (kwargs or {}).get("generator") is not None else [])
            return super().__torch_function__(func, types, args, kwargs)

    runs = step("runs")
    with Counting():
        changes = ["rounds=1", "training.epochs=1"]
        runs.run("digits", tmp_path, runs.TINY, arms=["clustered"], seeds=[0], overrides=changes)
    assert {"randn", "randperm"} <= set(seen)


def test_images_are_made_up_where_a_data_set_is_not_there(
    step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = step("runs")
    made_up = ['data.source={name="gpu_steps.made_up:MadeUp", like="mnist"}']
    assert runs.data("mtoc-mnist", runs.Sizes()) == made_up
    assert runs.data("digits", runs.Sizes()) == []
    monkeypatch.setenv("SEMFED_DATA", str(tmp_path))
    assert runs.data("mtoc-mnist", runs.Sizes()) == made_up
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").touch()
    assert runs.data("mtoc-mnist", runs.Sizes()) == []
    assert runs.data("mtoc-mnist", runs.Sizes(), 50) == [made_up[0].replace("}", ", tested=50}")]
    assert runs.data("mtoc-mnist", runs.TINY) == [made_up[0].replace("}", ", images=3000, tested=500}")]


def test_images_that_are_made_up_have_the_size_and_the_classes_of_the_data_set(step: Any) -> None:
    decoded = step("made_up").drawn("cifar10", 600, 100).checked("made up")
    (images, labels), (tested, _) = decoded.train, decoded.test
    assert (images.shape, tested.shape) == ((600, 3, 32, 32), (100, 3, 32, 32))
    assert np.bincount(labels).tolist() == [60] * 10
    assert decoded.classes[0] == "airplane"
    apart = [images[labels == k].mean(axis=0) for k in (0, 1)]
    assert np.abs(apart[0] - apart[1]).mean() > 20  # a class can be told from another


def test_which_steps_are_fused_is_noted_with_the_reason(step: Any, tmp_path: Path) -> None:
    runs, equality = step("runs"), step("equality")
    with equality.noted_steps() as told:
        runs.run(
            runs.MANY_CLIENTS, tmp_path, runs.TINY, arms=["W1"], overrides=[*runs.TINY.clients, "arms.W1.rounds=1"]
        )
    assert told == {"objective: fused": 1}  # once a process, since plain SGD never changes
    with equality.noted_steps() as told:
        runs.run(
            "digits", tmp_path, runs.TINY, arms=["individual"], seeds=[0], overrides=["rounds=1", "training.epochs=1"]
        )
    assert list(told) == ["objective: autograd, since the loss is not that of EndToEnd"]
    assert equality.stacked("fedcl-digits", ["fedcl", "fedavg"]) == {
        "fedcl": "it trains by a fit() of its own and not by an objective",
        "fedavg": "stacked where asked for",
    }


def test_specific_units_that_are_fused_are_those_that_are_noted(
    step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, taken, descent = step("runs"), [], closed_form.descent

    def counting(*args: Any, **options: Any) -> Any:
        taken.append(1)
        return descent(*args, **options)

    monkeypatch.setattr(closed_form, "descent", counting)
    with step("equality").noted_steps() as told:
        changes = [*runs.TINY.trials["iopm-mnist"]]
        runs.run("iopm-mnist", tmp_path, runs.TINY, arms=["iopm", "log-uniform-prior"], seeds=[0], overrides=changes)
    assert told.pop("specific unit: fused") == len(taken) > 0
    assert list(told) == ["specific unit: autograd, since this prior's penalty has no slopes written out"]


def test_seeds_side_by_side_are_compared_with_one_after_the_other(gpu: Any, step: Any, tmp_path: Path) -> None:
    tiny = step("runs").TINY
    one = {"mtoc-mnist": tiny.trials["mtoc-mnist"]}
    ((name, measure),) = gpu.trials("cpu", tmp_path, dataclasses.replace(tiny, trials=one, seeds=2))
    found = measure()
    assert found["relative_difference"] < 1e-3
    assert found["times"] == pytest.approx(found["alone_s"] / found["together_s"])
    bars = gpu.bars({"trials": {name: found}})
    assert bars["mtoc-mnist, 2 seeds side by side, times one after the other"] == found["times"]


def test_trials_whose_clients_train_alone_are_left_out_with_the_reason(gpu: Any, step: Any, tmp_path: Path) -> None:
    sizes = step("runs").Sizes(trials={"fedcl-digits": ()})
    ((name, measure),) = gpu.trials("cpu", tmp_path, sizes)
    assert name == "fedcl-digits"
    assert measure() == {"left out": "it trains by a fit() of its own and not by an objective"}


def test_losses_that_lack_are_as_far_apart_as_can_be(step: Any) -> None:
    apart = step("runs").apart
    assert apart({"a": 1.0, "b": 2.2}, {"a": 1.0, "b": 2.0}) == ("b", pytest.approx(0.1))
    assert apart({"a": 1.0}, {"a": 1.0, "b": 2.0}) == ("missing", math.inf)


def test_a_further_epoch_of_w1_reads_no_number_and_seeks_no_rows(gpu: Any, step: Any, tmp_path: Path) -> None:
    (_, measure), *_ = gpu.waits("cpu", tmp_path, step("runs").TINY)
    found = measure()
    assert set(found["further epoch"].values()) == {0}
    assert found["round"]["numbers read"] > 0  # so they would be seen


def test_a_graph_is_captured_after_the_steps_that_warm_up(step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, taken, replayed = step("compiled"), [], []
    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, stands in {
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda _: nullcontext(),
        "graph": lambda _: nullcontext(),
        "CUDAGraph": lambda: SimpleNamespace(replay=lambda: replayed.append(1)),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stands)

    def once() -> torch.Tensor:
        taken.append(1)
        return torch.tensor(float(len(taken)))

    replay = compiled.captured(once)
    assert len(taken) == compiled.WARM + 1
    assert (replay().item(), len(replayed), len(taken)) == (compiled.WARM + 1, 1, compiled.WARM + 1)


def test_the_written_out_step_is_the_library_s(step: Any) -> None:
    """Without noise both take the same steps: of one client bit for bit, of stacked ones up to rounding."""
    compiled = step("compiled")
    for make in compiled.works("cpu", 3).values():
        work = make()
        work.channel.settings = work.channel.settings.model_copy(update={"snr_db": math.inf})
        work.noise.zero_()
        library, written_out = work.library(), work.written_out()
        for _ in range(3):
            torch.testing.assert_close(library(), written_out())


def test_memory_is_that_of_the_whole_card(step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = step("jobs")
    free = iter([90, 20, *[60] * 10_000])
    monkeypatch.setattr(jobs, "LOOK_S", 0.0)
    seen = []

    def mem_get_info() -> tuple[int, int]:
        seen.append(1)
        return next(free) * 2**20, 100 * 2**20

    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    with jobs.used_mb("cuda") as told:
        while len(seen) < 3:
            pass
    assert told == {"used_mb": 80.0}


def test_bars_are_ratios_of_the_figures(gpu: Any) -> None:
    def figures(round_s: float, training_s: float, peak_mb: float | None = None) -> dict[str, Any]:
        return {"round_s": round_s, "training_s": training_s, "peak_mb": peak_mb}

    cohorts = {
        "cohort 1": figures(8.0, 6.0, 100.0),
        "cohort 10": {"failed": "OutOfMemoryError: too much"},
        "cohort 1000": figures(0.5, 0.1, 900.0),
        "on the CPU, one by one": figures(1.5, 1.0),
        "on the CPU, cohort auto": figures(1.25, 1.0),
        "left out": {"after_minutes": 8, "names": []},
    }
    launched = {"round": {"launches": 9}}
    waits = {"W1": launched | {"further epoch": {"waits": 2}}, "mtoc-mnist": launched | {"further epoch": {"waits": 0}}}
    presets = {"digits": {"equal": True}, "mtoc-mnist": {"equal": False}, "iopm-mnist": {"failed": "?"}}
    assert gpu.bars({"cohorts": cohorts, "presets": presets, "waits": waits}) == {
        "W2, best cohort, times one after the other": 16.0,
        "W2, best cohort, times the CPU's best": 2.5,
        "W2, best cohort, times one after the other, local training alone": pytest.approx(60.0),
        "W2, best cohort, times the CPU's best, local training alone": pytest.approx(10.0),
        "presets with equal losses": "1 of 3",  # one that fails is none that is equal
        "waits of a further epoch": 2,
        "most memory, MB": 900.0,
    }


def test_what_the_minutes_do_not_suffice_for_is_named(gpu: Any, step: Any, tmp_path: Path) -> None:
    gpu.main(["--device", "cpu", "--tiny", "--minutes", "0", "--out", str(tmp_path / "gpu.json")])
    told = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert list(told) == list(gpu.STEPS)
    assert all(list(each) == ["left out"] for each in told.values())
    assert told["jobs"]["left out"] == {"after_minutes": 0, "names": ["--jobs 1", "--jobs 2"]}


def test_a_step_has_its_share_and_goes_on_at_the_end_and_nothing_ends_with_what_fails(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: now[0])

    def step_of(names: list[str]) -> Any:
        def measure(name: str) -> dict[str, Any]:
            now[0] += 60
            if name == "a2":
                raise ValueError("no memory")
            return {"name": name}

        return lambda *_: ((name, lambda name=name: measure(name)) for name in names)

    steps = {"a": (step_of(["a1", "a2", "a3", "a4"]), 1.0), "b": (step_of(["b1"]), 1.0)}
    monkeypatch.setattr(gpu, "STEPS", steps)
    order: list[str] = []
    monkeypatch.setattr("builtins.print", lambda text, **_: order.append(text.split(": ")[1]))
    gpu.main(["--device", "cpu", "--only", "a,b", "--minutes", "4", "--out", str(tmp_path / "gpu.json")])
    told = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert order == ["a1", "a2", "b1", "a3", "left out"]
    assert told["a"]["a2"] == {"failed": "ValueError: no memory"}
    assert told["a"]["left out"]["names"] == ["a4"]


@pytest.mark.long
def test_the_rehearsal_runs_every_line_without_ray_and_network(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-c", ALONE, SCRIPT, "--device", "cpu", "--tiny", "--minutes", "60", "--out", out]
    subprocess.run(command, check=True, capture_output=True)
    told = json.loads(out.read_text())
    results = told["results"]
    assert list(results) == ["cohorts", "trials", "presets", "batchnorm", "waits", "jobs", "compiled"]
    assert not [name for step in results.values() for name, figures in step.items() if "failed" in figures]
    assert not any("left out" in step for step in results.values())
    on_cpu = ["on the CPU, one by one", "on the CPU, cohort auto"]
    assert list(results["cohorts"]) == ["cohort 1", "cohort 4", "cohort auto", *on_cpu]
    assert list(results["batchnorm"]) == ["cohort 1", "cohort 4", *on_cpu]
    differences = [f.get("relative_difference", 0.0) for step in results.values() for f in step.values()]
    assert max(differences) < 1e-3
    compiled = results["compiled"]
    followed = [f for name, f in compiled.items() if "follows" in name]
    assert len(compiled) == 10
    assert all(any("gaussian" in reason for reason in f["breaks"]) for f in followed)
    assert told["bars"]["presets with equal losses"] == "2 of 2"
