"""What a GPU is worth, in minutes: equal losses, cohorts, several processes on one card. Needs neither ray nor network.

    SEMFED_DATA=DIR python benchmarks/gpu.py [--device cuda] [--only STEP,...] [--out FILE]

Every figure is written as soon as it is known, so that a run that is cut short keeps what it measured. On ``--device
cpu`` every line runs, too: that is the rehearsal. What needs real data is left out where SEMFED_DATA is unset, and said
so.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile

import semfed
from semfed.runs.folder import each_line, read_records

ROOT = Path(__file__).parents[1]
EXPECTED = ROOT / "tests" / "scenarios" / "expected"
MANY_CLIENTS = ROOT / "benchmarks" / "engines" / "mnist-1000.toml"
EMBEDDED = ("digits", "alignment-digits", "fedcl-digits")
TOLERANCE = 1e-3
"""Of the first round's losses, relative; float32 sums in another order differ by less."""
COHORTS = {"cohorts": (1, 10, 100, 1000), "batchnorm": (1, 5, 20)}
PROCESSES = (1, 4, 16)
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC")

Figures = dict[str, Any]


class DrawnOnCpu(TorchFunctionMode):
    """Draws random numbers on the CPU wherever a generator of a GPU is asked for, so that both devices use the same."""

    def __init__(self) -> None:
        super().__init__()
        self._twins: WeakKeyDictionary[torch.Generator, torch.Generator] = WeakKeyDictionary()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        generator = kwargs.get("generator")
        if generator is None or generator.device.type == "cpu":
            return func(*args, **kwargs)
        twin = self._twins.setdefault(generator, torch.Generator().manual_seed(generator.initial_seed()))
        return func(*args, **kwargs | {"generator": twin, "device": "cpu"}).to(generator.device)


def run(scenario: str | Path, scratch: Path, **options: Any) -> Path:
    """Run one in this process, checkpoints off; return its folder."""
    options["overrides"] = [*options.get("overrides", ()), "checkpoint_every=0"]
    return semfed.run(scenario, out=Path(tempfile.mkdtemp(dir=scratch)) / "run", **options).folder


def round_s(folder: Path) -> float:
    """Return the median time of a round after the first one, or of the first where there is no other."""
    told = [json.loads(line) for line in each_line(folder / "timing.jsonl")]
    return statistics.median([t["seconds"] for t in told if t["round"] > 1] or [t["seconds"] for t in told[-1:]])


def losses(folder: Path) -> dict[str, float]:
    """Return the losses of the first round with any by arm, name and client."""
    found = [r for r in read_records(folder) if "loss" in r.metric and r.round > 0]
    first = min((r.round for r in found), default=0)
    return {f"{r.arm} {r.metric} {r.client}": r.value for r in found if r.round == first}


def presets(device: str, scratch: Path) -> Iterator[tuple[str, Figures]]:
    """Run every scenario's short preset on both devices with the same draws, and compare the first round's losses."""
    for path in sorted(EXPECTED.glob("*.json"), key=lambda p: (p.stem not in EMBEDDED, p.stem)):
        if path.stem not in EMBEDDED and not os.environ.get("SEMFED_DATA"):
            continue
        short, seconds, told = json.loads(path.read_text()), {}, {}
        for place in ("cpu", device):
            started = time.perf_counter()
            with DrawnOnCpu():
                folder = run(
                    path.stem,
                    scratch,
                    arms=short["arms"],
                    seeds=[0],
                    overrides=[*short["overrides"], f"training.device={place}"],
                )
            seconds[place], told[place] = time.perf_counter() - started, losses(folder)
        apart = {key: abs(told[device][key] - value) / max(abs(value), 1e-9) for key, value in told["cpu"].items()}
        worst = max(apart, key=lambda key: apart[key])
        yield (
            path.stem,
            {"seconds": seconds, "losses": len(apart), "worst": worst, "relative_difference": apart[worst]}
            | {"equal": apart[worst] <= TOLERANCE},
        )


def syncs(device: str, scratch: Path) -> Iterator[tuple[str, Figures]]:
    """Count how often a round of 100 clients, 600 steps, waits for the card, copies and launches."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device != "cpu" else [])]
    with profile(activities=activities, acc_events=True) as taken:
        run(MANY_CLIENTS, scratch, arms=["W1"], overrides=["arms.W1.rounds=1", f"training.device={device}"])
    counts = {event.key: event.count for event in taken.key_averages()}
    yield (
        "W1, one round",
        {
            "steps": 600,
            "waits": sum(counts.get(name, 0) for name in WAITS),
            "copies": counts.get("cudaMemcpyAsync", 0),
            "launches": sum(counts.get(name, 0) for name in LAUNCHES),
            "items": counts.get("aten::_local_scalar_dense", 0),
        },
    )


def cohorts(device: str, scratch: Path) -> Iterator[tuple[str, Figures]]:
    """Time a round of W2, 1,000 clients of 6 steps, by how many train side by side; and on the CPU one by one."""
    yield from _by_cohort("cohorts", device, scratch, scenario=MANY_CLIENTS, arm="W2", overrides=["arms.W2.rounds=3"])


def batchnorm(device: str, scratch: Path) -> Iterator[tuple[str, Figures]]:
    """Time a round of 20 clients with FedCL's encoder (BatchNorm, Adam) in federated averaging, likewise."""
    changes = ["rounds=3", "training.optimizer_state=fresh"]
    yield from _by_cohort("batchnorm", device, scratch, scenario="fedcl-cifar10-k20", arm="fedavg", overrides=changes)


def _by_cohort(
    step: str, device: str, scratch: Path, *, scenario: str | Path, arm: str, overrides: list[str]
) -> Iterator[tuple[str, Figures]]:
    for place, size in [("cpu", 1), *((device, size) for size in COHORTS[step])]:
        if device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        folder = run(scenario, scratch, arms=[arm], cohort=size, overrides=[*overrides, f"training.device={place}"])
        peak = torch.cuda.max_memory_allocated() / 2**20 if device != "cpu" else None
        yield f"{place}, cohort {size}", {"round_s": round_s(folder), "peak_mb": peak}


def sharing(device: str, scratch: Path) -> Iterator[tuple[str, Figures]]:
    """Time n processes that share the device, each with a trial of its own, against one."""
    options = ["--set", f"training.device={device}", "--set", "training.epochs=1", "--set", "checkpoint_every=0"]
    for count in PROCESSES:
        started = time.perf_counter()
        commands = [
            [sys.executable, "-m", "semfed.cli", "run", "mtoc-mnist", "--seeds", str(seed), *options]
            for seed in range(count)
        ]
        running = [
            subprocess.Popen(
                [*command, "--out", str(Path(tempfile.mkdtemp(dir=scratch)) / "run")],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            for command in commands
        ]
        failed = sum(process.wait() != 0 for process in running)
        seconds = time.perf_counter() - started
        yield f"{count} processes", {"seconds": seconds, "trials_per_minute": 60 * count / seconds, "failed": failed}


STEPS: dict[str, tuple[Callable[[str, Path], Iterator[tuple[str, Figures]]], bool]] = {
    "presets": (presets, False),
    "cohorts": (cohorts, True),
    "batchnorm": (batchnorm, True),
    "syncs": (syncs, True),
    "sharing": (sharing, True),
}
"""In the order of worth, with whether they need the real data."""


def bars(results: dict[str, dict[str, Figures]]) -> Figures:
    """Say what the figures come to: ratios of one run."""
    told: Figures = {}
    if rounds := {name: f["round_s"] for name, f in results.get("cohorts", {}).items() if "round_s" in f}:
        on_cpu = rounds.pop("cpu, cohort 1", math.nan)
        if rounds:
            alone, best = next(iter(rounds.values())), min(rounds.values())
            told["W2, best cohort, times one after the other"] = alone / best
            told["W2, best cohort, times the CPU"] = on_cpu / best
    if compared := [f["equal"] for f in results.get("presets", {}).values() if "equal" in f]:
        told["presets with equal losses"] = f"{sum(compared)} of {len(compared)}"
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", default=",".join(STEPS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu.json")
    given = parser.parse_args()
    card = torch.cuda.get_device_name() if given.device != "cpu" else None
    content: Figures = {"device": given.device, "card": card, "torch": torch.__version__, "cpus": os.cpu_count()}
    results: dict[str, dict[str, Figures]] = {}
    content["results"] = results
    given.out.parent.mkdir(parents=True, exist_ok=True)

    def keep(step: str, name: str, figures: Figures) -> None:
        results.setdefault(step, {})[name] = figures
        given.out.write_text(json.dumps({**content, "bars": bars(results)}, indent=1) + "\n")
        print(f"{step}: {name}: {json.dumps(figures)}", flush=True)

    for step in given.only.split(","):
        take, needs_data = STEPS[step]
        if needs_data and not os.environ.get("SEMFED_DATA"):
            keep(step, "left out", {"reason": "SEMFED_DATA is unset"})
            continue
        try:
            with tempfile.TemporaryDirectory() as scratch:
                for name, figures in take(given.device, Path(scratch)):
                    keep(step, name, figures)
        except Exception as error:  # the next step may still work, and minutes on the machine are few
            keep(step, "failed", {"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
