"""What a GPU is worth, in minutes: equal losses, cohorts, several processes on one card. Needs neither ray nor network.

    SEMFED_DATA=DIR python benchmarks/gpu.py [--device cuda] [--only STEP,...] [--minutes M] [--tiny] [--out FILE]

Every figure is written as soon as it is known, so that a run that is cut short keeps what it measured; what the minutes
do not suffice for is left out, and said so. On ``--device cpu`` every line runs, too, and with ``--tiny`` in a minute,
on scikit-learn's digits: that is the rehearsal. What needs real data is left out where SEMFED_DATA is unset.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile

import semfed
from semfed.flower.client.together import why_arm_alone
from semfed.runs.folder import each_line, read_records
from semfed.scenario.overrides import load

ROOT = Path(__file__).parents[1]
EXPECTED = ROOT / "tests" / "scenarios" / "expected"
MANY_CLIENTS = ROOT / "benchmarks" / "engines" / "mnist-1000.toml"
EMBEDDED = ("digits", "alignment-digits", "fedcl-digits")
TOLERANCE = 1e-3
"""Of the first round's losses, relative; float32 sums in another order differ by less."""
COHORTS: dict[str, tuple[int | str, ...]] = {"cohorts": (1, 10, 100, 1000, "auto"), "batchnorm": (1, 5, 20)}
SEEDS = 10
TRIALS = {
    "mtoc-mnist": ["training.epochs=1"],
    "mtoc-fashion-mnist": ["training.epochs=1"],
    "iopm-cifar10": ["learner.common.epochs=1", "rounds=2"],
}
"""Scenarios of whose first arm many seeds are wanted, with what makes them short."""
PROCESSES = (1, 4, 16)
MINUTES = 8.0
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC")

Figures = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes
    ----------
    presets : tuple of str
        Scenarios whose losses are compared, all that have data if empty.
    digits : list of str
        Settings that put scikit-learn's digits in the place of what needs files; none where real data are meant.
    clients, many : list of str
        Further settings of W1 and of W2.
    encoder : tuple of str and list of str
        A scenario with an encoder of FedCL, and settings.
    cohorts : dict
    seeds : int
        Side by side.
    trials : dict
    processes : tuple of int
    """

    presets: tuple[str, ...] = ()
    digits: list[str] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)
    many: list[str] = field(default_factory=lambda: ["arms.W2.rounds=3"])
    encoder: tuple[str, list[str]] = ("fedcl-cifar10-k20", ["rounds=3"])
    cohorts: dict[str, tuple[int | str, ...]] = field(default_factory=lambda: COHORTS)
    seeds: int = SEEDS
    trials: dict[str, list[str]] = field(default_factory=lambda: TRIALS)
    processes: tuple[int, ...] = PROCESSES


DIGITS = ["data.source=digits", 'data.partition={name="iid", per_client=3}']
TINY = Sizes(
    presets=("digits",),
    digits=["data.source=digits", 'data.partition={name="iid", per_client=200}'],
    clients=[*DIGITS, "clients.count=40"],
    many=[*DIGITS, "clients.count=40", "arms.W2.rounds=2"],
    encoder=("fedcl-digits", ["rounds=2", "clients.count=4", "data.q=12"]),
    cohorts={"cohorts": (1, 4, "auto"), "batchnorm": (1, 4)},
    seeds=3,
    trials={
        "mtoc-mnist": ['data.partition={name="iid", per_client=200}'],
        "iopm-mnist": ['data.partition={name="iid", per_client=200}', "learner.common.epochs=1", "rounds=2"],
    },
    processes=(1, 2),
)


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
    return {f"{r.arm} {r.seed} {r.metric} {r.client}": r.value for r in found if r.round == first}


def presets(device: str, scratch: Path, sizes: Sizes) -> Iterator[tuple[str, Figures]]:
    """Run every scenario's short preset on both devices with the same draws, and compare the first round's losses."""
    for path in sorted(EXPECTED.glob("*.json"), key=lambda p: (p.stem not in EMBEDDED, p.stem)):
        has_data = path.stem in EMBEDDED or os.environ.get("SEMFED_DATA")
        if not has_data or (sizes.presets and path.stem not in sizes.presets):
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


def syncs(device: str, scratch: Path, sizes: Sizes) -> Iterator[tuple[str, Figures]]:
    """Count how often a round of 100 clients, 600 steps, waits for the card, copies and launches."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device != "cpu" else [])]
    with profile(activities=activities, acc_events=True) as taken:
        changes = [*sizes.clients, "arms.W1.rounds=1", f"training.device={device}"]
        run(MANY_CLIENTS, scratch, arms=["W1"], overrides=changes)
    counts = {event.key: event.count for event in taken.key_averages()}
    yield (
        "W1, one round",
        {
            "clients and their steps": "as in TINY" if sizes.clients else "100, 6 each",
            "waits": sum(counts.get(name, 0) for name in WAITS),
            "copies": counts.get("cudaMemcpyAsync", 0),
            "launches": sum(counts.get(name, 0) for name in LAUNCHES),
            "items": counts.get("aten::_local_scalar_dense", 0),
        },
    )


def cohorts(device: str, scratch: Path, sizes: Sizes) -> Iterator[tuple[str, Figures]]:
    """Time a round of W2, 1,000 clients of 6 steps, by how many train side by side; and on the CPU one by one."""
    yield from _by_cohort(sizes.cohorts["cohorts"], device, scratch, MANY_CLIENTS, "W2", sizes.many)


def batchnorm(device: str, scratch: Path, sizes: Sizes) -> Iterator[tuple[str, Figures]]:
    """Time a round of 20 clients with FedCL's encoder (BatchNorm, Adam) in federated averaging, likewise."""
    scenario, changes = sizes.encoder
    yield from _by_cohort(sizes.cohorts["batchnorm"], device, scratch, scenario, "fedavg", changes)


def _by_cohort(
    sizes: Sequence[int | str], device: str, scratch: Path, scenario: str | Path, arm: str, overrides: list[str]
) -> Iterator[tuple[str, Figures]]:
    reference: tuple[str, str, int | str] = ("on the CPU, one by one", "cpu", 1)
    for name, place, size in [reference, *((f"cohort {size}", device, size) for size in sizes)]:
        with peak_mb(device) as peak:
            folder = run(scenario, scratch, arms=[arm], cohort=size, overrides=[*overrides, f"training.device={place}"])
        yield name, {"round_s": round_s(folder), **peak}


@contextmanager
def peak_mb(device: str) -> Iterator[Figures]:
    """Measure the most memory that tensors take on the card."""
    told: Figures = {}
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    yield told
    told["peak_mb"] = torch.cuda.max_memory_allocated() / 2**20 if device != "cpu" else None


def trials(device: str, scratch: Path, sizes: Sizes) -> Iterator[tuple[str, Figures]]:
    """Time seeds of an arm side by side in one process, their weights stacked, against one after the other."""
    for name, changes in sizes.trials.items():
        scenario = load(name)
        arm = scenario.arm_names[0]
        reason = why_arm_alone(scenario.arm(arm))
        if reason is not None:
            yield name, {"left out": reason}
            continue
        told: Figures = {"arm": arm, "seeds": sizes.seeds}
        digits = sizes.digits[:1]
        folders = {}
        for way, options in (("alone", {"jobs": 1}), ("together", {"together": sizes.seeds, "cohort": sizes.seeds})):
            settings = [*digits, *changes, f"training.device={device}"]
            with peak_mb(device) as peak:
                folders[way] = run(name, scratch, arms=[arm], seeds=range(sizes.seeds), overrides=settings, **options)
            told[f"{way}_s"], told[f"{way}_peak_mb"] = trained_s(folders[way], way), peak["peak_mb"]
        told["times"] = told["alone_s"] / told["together_s"]
        before, after = (losses(folders[way]) for way in ("alone", "together"))
        told["relative_difference"] = max(
            abs(after[key] - value) / max(abs(value), 1e-9) for key, value in before.items()
        )
        yield name, told


def trained_s(folder: Path, way: str) -> float:
    """Return the seconds of all rounds: of one trial after the other, or of the one that took longest meanwhile."""
    by_seed: dict[int, float] = {}
    for line in map(json.loads, each_line(folder / "timing.jsonl")):
        by_seed[line["seed"]] = by_seed.get(line["seed"], 0.0) + line["seconds"]
    return sum(by_seed.values()) if way == "alone" else max(by_seed.values())


def sharing(device: str, scratch: Path, sizes: Sizes) -> Iterator[tuple[str, Figures]]:
    """Time n processes that share the device, each with a trial of its own, against one."""
    options = ["--set", f"training.device={device}", "--set", "training.epochs=1", "--set", "checkpoint_every=0"]
    options += [word for text in sizes.digits for word in ("--set", text)]
    for count in sizes.processes:
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


STEPS: dict[str, tuple[Callable[[str, Path, Sizes], Iterator[tuple[str, Figures]]], bool]] = {
    "presets": (presets, False),
    "cohorts": (cohorts, True),
    "trials": (trials, True),
    "batchnorm": (batchnorm, True),
    "syncs": (syncs, True),
    "sharing": (sharing, True),
}
"""In the order of worth, with whether they need the real data."""


def bars(results: dict[str, dict[str, Figures]]) -> Figures:
    """Say what the figures come to: ratios of one run."""
    told: Figures = {}
    if rounds := {name: f["round_s"] for name, f in results.get("cohorts", {}).items() if "round_s" in f}:
        on_cpu = rounds.pop("on the CPU, one by one", math.nan)
        if rounds:
            alone, best = next(iter(rounds.values())), min(rounds.values())
            told["W2, best cohort, times one after the other"] = alone / best
            told["W2, best cohort, times the CPU"] = on_cpu / best
    for name, figures in results.get("trials", {}).items():
        if "times" in figures:
            told[f"{name}, {figures['seeds']} seeds side by side, times one after the other"] = figures["times"]
    if compared := [f["equal"] for f in results.get("presets", {}).values() if "equal" in f]:
        told["presets with equal losses"] = f"{sum(compared)} of {len(compared)}"
    return told


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", default=",".join(STEPS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu.json")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="begin nothing after so many")
    parser.add_argument("--tiny", action="store_true", help="the rehearsal: every line, on next to nothing")
    given = parser.parse_args(arguments)
    sizes, started = TINY if given.tiny else Sizes(), time.perf_counter()
    card = torch.cuda.get_device_name() if given.device != "cpu" else None
    content: Figures = {"device": given.device, "card": card, "torch": torch.__version__, "cpus": os.cpu_count()}
    results: dict[str, dict[str, Figures]] = {}
    content["results"] = results
    given.out.parent.mkdir(parents=True, exist_ok=True)

    def keep(step: str, name: str, figures: Figures) -> None:
        results.setdefault(step, {})[name] = figures
        given.out.write_text(json.dumps({**content, "bars": bars(results)}, indent=1) + "\n")
        print(f"{step}: {name}: {json.dumps(figures)}", flush=True)

    def over() -> bool:
        return time.perf_counter() - started > 60 * given.minutes

    for step in given.only.split(","):
        take, needs_data = STEPS[step]
        if needs_data and not given.tiny and not os.environ.get("SEMFED_DATA"):
            keep(step, "left out", {"reason": "SEMFED_DATA is unset"})
            continue
        try:
            with tempfile.TemporaryDirectory() as scratch:
                found = take(given.device, Path(scratch), sizes)
                while not over():
                    one = next(found, None)
                    if one is None:
                        break
                    keep(step, *one)
                else:
                    keep(step, "left out", {"reason": f"the rest, after {given.minutes:g} minutes"})
        except Exception as error:  # the next step may still work, and minutes on the machine are few
            keep(step, "failed", {"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
