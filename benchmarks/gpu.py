"""What a GPU is worth, in minutes: equal losses, cohorts, several processes on one card. Needs neither ray nor network.

    [SEMFED_DATA=DIR] python benchmarks/gpu.py [--device cuda] [--only STEP,...] [--minutes M] [--tiny] [--out FILE]

Every figure is written as soon as it is known, so that a run that is cut short keeps what it measured. A step has a
share of the minutes; what it does not suffice for comes after all others, if any are left, and is named if not. Data
sets that are not below SEMFED_DATA are made up, as many images of the same size, and for equal losses they always are.
On ``--device cpu`` every line runs, too, but for the capture of CUDA graphs, with ``--tiny`` in minutes: that is the
rehearsal. The steps are in ``benchmarks/gpu_steps``.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from gpu_steps.compiled import compiled
from gpu_steps.equality import presets
from gpu_steps.jobs import jobs
from gpu_steps.runs import ROOT, TINY, Figures, Items, Sizes
from gpu_steps.side_by_side import batchnorm, cohorts, trials
from gpu_steps.waits import waits

STEPS: dict[str, tuple[Callable[[str, Path, Sizes], Items], float]] = {
    "cohorts": (cohorts, 1.2),
    "trials": (trials, 1.8),
    "presets": (presets, 2.0),
    "batchnorm": (batchnorm, 0.5),
    "waits": (waits, 0.5),
    "jobs": (jobs, 1.2),
    "compiled": (compiled, 0.8),
}
"""In the order of worth, with their shares of `MINUTES`."""
MINUTES = sum(share for _, share in STEPS.values())
ALONE, CPU, LEFT_OUT = "cohort 1", "on the CPU", "left out"

Results = dict[str, dict[str, Figures]]


def bars(results: Results) -> Figures:
    """Say what the figures come to: ratios of one run, and the most memory."""
    told: Figures = {}
    found = {step: {name: f for name, f in each.items() if "failed" not in f} for step, each in results.items()}
    rounds = {name: f for name, f in found.get("cohorts", {}).items() if name != LEFT_OUT}
    on_cpu, on_device = ({n: f for n, f in rounds.items() if n.startswith(CPU) is side} for side in (True, False))
    for what, key in (("", "round_s"), (", local training alone", "training_s")):
        best = min((f[key] for f in on_device.values()), default=None)
        others = {
            "one after the other": [f[key] for name, f in on_device.items() if name == ALONE],
            "the CPU's best": [f[key] for f in on_cpu.values()],
        }
        for other, seconds in others.items():
            if best is not None and seconds:
                told[f"W2, best cohort, times {other}{what}"] = min(seconds) / best
    for name, figures in found.get("trials", {}).items():
        if "times" in figures:
            told[f"{name}, {figures['seeds']} seeds side by side, times one after the other"] = figures["times"]
    if compared := [f.get("equal", False) for name, f in results.get("presets", {}).items() if name != LEFT_OUT]:
        told["presets with equal losses"] = f"{sum(compared)} of {len(compared)}"
    loops = [f for name, f in found.get("waits", {}).items() if name != LEFT_OUT and f["round"]["launches"]]
    if loops:  # on a card: on a CPU there is nothing to wait for
        told["waits of a further epoch"] = max(f["further epoch"]["waits"] for f in loops)
    peaks = [f[key] for each in found.values() for f in each.values() for key in f if key.endswith("_mb")]
    told["most memory, MB"] = max((peak for peak in peaks if peak is not None), default=None)
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
    content |= {"tiny": given.tiny, "data_root_given": "SEMFED_DATA" in os.environ}
    content["tf32_convolutions"] = torch.backends.cudnn.allow_tf32  # torch's default; a CPU has none
    results: Results = {}
    given.out.parent.mkdir(parents=True, exist_ok=True)

    def keep(step: str, name: str, figures: Figures) -> None:
        results.setdefault(step, {})[name] = figures
        content["minutes"] = (time.perf_counter() - started) / 60
        given.out.write_text(json.dumps({**content, "results": results, "bars": bars(results)}, indent=1) + "\n")
        print(f"{step}: {name}: {json.dumps(figures)}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        left = {name: STEPS[name][0](given.device, scratch, sizes) for name in given.only.split(",")}
        whole = sum(STEPS[name][1] for name in left)
        due = started
        shares = []
        for name in left:
            due += 60 * given.minutes * STEPS[name][1] / whole
            shares.append((name, due))
        for step, until in [*shares, *((name, due) for name in left)]:
            while time.perf_counter() < until and (one := next(left[step], None)) is not None:
                name, measure = one
                try:
                    keep(step, name, measure())
                except Exception as error:  # the next may still work, and minutes on the machine are few
                    keep(step, name, {"failed": f"{type(error).__name__}: {error}"})
        for step, items in left.items():
            if names := [name for name, _ in items]:
                keep(step, LEFT_OUT, {"after_minutes": given.minutes, "names": names})


if __name__ == "__main__":
    main()
