"""Trials side by side in processes that share the device (`--jobs`), against one after the other in this one."""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from gpu_steps.runs import Figures, Items, Sizes, run, seconds_by_seed

SCENARIO, ARM = "mtoc-mnist", "mtoc"
LOOK_S = 0.1


def jobs(device: str, scratch: Path, sizes: Sizes) -> Items:
    """Time the same trials by how many processes share the device, start of the processes included."""
    for count in sizes.jobs:
        yield f"--jobs {count}", lambda count=count: _shared(count, device, scratch, sizes)  # type: ignore[misc]


def _shared(count: int, device: str, scratch: Path, sizes: Sizes) -> Figures:
    trials = max(sizes.jobs)
    changes = [*sizes.trials[SCENARIO], f"training.device={device}"]
    with used_mb(device) as used:
        began = time.perf_counter()
        folder = run(SCENARIO, scratch, sizes, arms=[ARM], seeds=range(trials), overrides=changes, jobs=count)
        seconds = time.perf_counter() - began
    one = statistics.median(seconds_by_seed(folder).values())
    return {"trials": trials, "seconds": seconds, "trials_per_minute": 60 * trials / seconds, "trial_s": one, **used}


@contextmanager
def used_mb(device: str) -> Iterator[Figures]:
    """Measure the most memory that is taken on the card meanwhile, whoever takes it; None on a CPU."""
    told: Figures = {"used_mb": None}
    if device == "cpu":
        yield told
        return
    most, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            free, total = torch.cuda.mem_get_info()
            most[0] = max(most[0], total - free)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield told
    finally:
        over.set()
        watcher.join()
    told["used_mb"] = most[0] / 2**20
