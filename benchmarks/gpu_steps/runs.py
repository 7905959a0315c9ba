"""What all steps have in common: sizes, runs in this process, and what is read of their folders."""

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import semfed
from semfed.errors import DataError
from semfed.runs.api import find_data_root
from semfed.runs.folder import each_line, read_records
from semfed.scenario.overrides import load

ROOT = Path(__file__).parents[2]
MANY_CLIENTS = ROOT / "benchmarks" / "engines" / "mnist-1000.toml"

UNTESTED = "arms.fedavg.strategy.fraction_evaluate=0.0"
"""Of FedCL's baseline, whose tests take longer than its training."""

FEW = 'data.partition={name="iid", per_client=200}'

Figures = dict[str, Any]
Measure = Callable[[], Figures]
Items = Iterator[tuple[str, Measure]]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes
    ----------
    presets : tuple of str
        Scenarios whose losses are compared, all if empty.
    images : int or None
        Of data sets that are made up; as many as the data set has if None.
    clients, many : tuple of str
        Further settings of W1 and of W2.
    encoder : tuple of str
        Further settings of `fedcl-cifar10-k20`.
    cohorts, batchnorm : tuple of (int or "auto")
        Clients side by side.
    trials : dict of str to tuple of str
        Scenarios of whose first arm many seeds are wanted, with what makes them short.
    seeds : int
        Side by side.
    waits : dict of str to tuple of str
        Scenarios of whose first arm a further epoch is looked at, with what makes them short.
    jobs : tuple of int
        Processes that share the device; the last of them is how many trials there are.
    compiled : tuple of int and int
        Clients of a cohort, and steps that are timed.
    """

    presets: tuple[str, ...] = ()
    images: int | None = None
    clients: tuple[str, ...] = ()
    many: tuple[str, ...] = ("arms.W2.rounds=3",)
    encoder: tuple[str, ...] = ("rounds=3", UNTESTED)
    cohorts: tuple[int | str, ...] = (1, 10, 100, 1000, "auto")
    batchnorm: tuple[int | str, ...] = (1, 5, 20)
    trials: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "mtoc-mnist": ("training.epochs=1",),
            "mtoc-fashion-mnist": ("training.epochs=1",),
            "iopm-cifar10": ("learner.common.epochs=1", "rounds=2"),
        }
    )
    seeds: int = 10
    waits: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "mtoc-mnist": ('data.partition={name="iid", per_client=2560}',),
            "clustered-mnist": ("rounds=1",),
            "iopm-mnist": (FEW, "learner.common.epochs=1", "rounds=2"),
        }
    )
    jobs: tuple[int, ...] = (1, 4, 16)
    compiled: tuple[int, int] = (100, 100)


TINY = Sizes(
    presets=("digits", "mtoc-mnist"),
    images=3000,
    clients=("clients.count=40", "data.partition.per_client=20"),
    many=("clients.count=40", "arms.W2.rounds=2"),
    encoder=("rounds=2", UNTESTED, "clients.count=4", "data.q=12"),
    cohorts=(1, 4, "auto"),
    batchnorm=(1, 4),
    trials={
        "mtoc-mnist": (FEW, "training.epochs=1"),
        "iopm-mnist": (FEW, "learner.common.epochs=1", "rounds=2"),
    },
    seeds=3,
    waits={"mtoc-mnist": (FEW,)},
    jobs=(1, 2),
    compiled=(4, 3),
)
"""The rehearsal: every line, on next to nothing."""


def run(scenario: str | Path, scratch: Path, sizes: Sizes, *, tested: int | None = None, **options: Any) -> Path:
    """Run a scenario in this process, checkpoints off, on the images that `data` chooses; return its folder."""
    changes = [*options.pop("overrides", ()), "checkpoint_every=0", *data(scenario, sizes, tested)]
    return semfed.run(scenario, out=Path(tempfile.mkdtemp(dir=scratch)) / "run", overrides=changes, **options).folder


def data(scenario: str | Path, sizes: Sizes, tested: int | None = None) -> list[str]:
    """Return the setting that puts images that are made up in the place of a data set.

    So it is where the data set is not below the data root, where the sizes ask for fewer images, or where a number of
    test images is given.
    """
    source = load(scenario).data.source
    if source.name == "digits":
        return []
    few = {"images": sizes.images, "tested": tested or (sizes.images and sizes.images // 6)}
    given = "".join(f", {name}={count}" for name, count in few.items() if count is not None)
    try:
        there = source.make().files(find_data_root(None)) != []
    except DataError:
        there = False
    if there and not given:
        return []
    return [f'data.source={{name="gpu_steps.made_up:MadeUp", like="{source.name}"{given}}}']


def round_s(folder: Path) -> float:
    """Return the median time of a round after the first one, or of the first where there is no other."""
    told = [json.loads(line) for line in each_line(folder / "timing.jsonl")]
    return statistics.median([t["seconds"] for t in told if t["round"] > 1] or [t["seconds"] for t in told[-1:]])


def seconds_by_seed(folder: Path) -> dict[int, float]:
    """Return the seconds of all rounds of every trial, of one arm."""
    by_seed: dict[int, float] = {}
    for line in map(json.loads, each_line(folder / "timing.jsonl")):
        by_seed[line["seed"]] = by_seed.get(line["seed"], 0.0) + line["seconds"]
    return by_seed


def losses(folder: Path) -> dict[str, float]:
    """Return the losses of the first round with any by arm, seed, name and client."""
    found = [r for r in read_records(folder) if "loss" in r.metric and r.round > 0]
    first = min((r.round for r in found), default=0)
    return {f"{r.arm} {r.seed} {r.metric} {r.client}": r.value for r in found if r.round == first}


def apart(found: Mapping[str, float], reference: Mapping[str, float]) -> tuple[str, float]:
    """Return which loss is furthest from that of the reference, and by what share of it; "missing", if one lacks."""
    if not reference or found.keys() != reference.keys():
        return "missing", float("inf")
    shares = {name: abs(found[name] - value) / max(abs(value), 1e-9) for name, value in reference.items()}
    return max(shares.items(), key=lambda one: one[1])


@contextmanager
def peak_mb(device: str) -> Iterator[Figures]:
    """Measure the most memory that this process's tensors take on the card; None on a CPU.

    It is what torch has reserved at the end: it gives nothing back meanwhile, and its other peak is reset by cohorts.
    """
    told: Figures = {"peak_mb": None}
    if device != "cpu":
        torch.cuda.empty_cache()
    yield told
    if device != "cpu":
        told["peak_mb"] = torch.cuda.memory_reserved() / 2**20
