"""What trials side by side save: the same grid with --jobs 1 and with as many jobs as there are cores.

    SEMFED_DATA=DIR python benchmarks/jobs.py [--jobs 2] [--repeats 3] [--out FILE.json]

The grid is `mtoc-mnist` with two SNRs and four seeds: three arms of one client each, 24 trials. Times are those of the
command, start-up, figures and all, and both kinds of runs take turns; the ratio is that of the medians. A run counts if
two processes get two CPUs before and after it (`engines/quiet.py`). The run folders must be the same.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "engines"))

from quiet import is_quiet, share

GRID = ("mtoc-mnist", "--seeds", "0-3", "--sweep", "channel.snr_db=0,10")
SHARE = 1.15
"""Of the time of one job, divided by the jobs, may be taken by several: 0.58 with two."""
SAME = ("metrics.jsonl", "outcomes.jsonl", "summary.json", "parameters/*")


def seconds(jobs: int, out: Path) -> float:
    """Return what a run takes."""
    command = [sys.executable, "-m", "semfed.cli", "run", *GRID, "--jobs", str(jobs), "--out", str(out)]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def content(run: Path) -> dict[str, bytes]:
    """Return what must be the same, by its names."""
    return {str(path.relative_to(run)): path.read_bytes() for pattern in SAME for path in run.glob(pattern)}


def measure(jobs: int, repeats: int) -> dict[str, Any]:
    """Run the grid in turns and return all times, the ratio of medians, and the bar for it."""
    times: dict[int, list[float]] = {1: [], jobs: []}
    left_out = 0
    while len(times[jobs]) < repeats:
        with tempfile.TemporaryDirectory() as scratch:
            before = share()
            pair = {n: seconds(n, Path(scratch) / str(n)) for n in times}
            if content(Path(scratch) / "1") != content(Path(scratch) / str(jobs)):
                raise SystemExit(f"the run folders of 1 and {jobs} jobs differ")
            if is_quiet(before) and is_quiet(share()):
                for n, taken in pair.items():
                    times[n].append(round(taken, 2))
            else:
                left_out += 1
        print(f"{pair[1]:.1f} s with 1 job, {pair[jobs]:.1f} s with {jobs}", flush=True)
    ratio = statistics.median(times[jobs]) / statistics.median(times[1])
    return {
        "command": "semfed run " + " ".join(GRID),
        "cores": os.cpu_count(),
        "seconds": {str(n): taken for n, taken in times.items()},
        "left_out": left_out,
        "ratio": round(ratio, 3),
        "bar": round(SHARE / jobs, 3),
    }


def main() -> int:
    """Measure, print, and say by the exit status whether the bar is kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = measure(given.jobs, given.repeats)
    text = json.dumps(found, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n")
    return int(found["ratio"] > found["bar"])


if __name__ == "__main__":
    sys.exit(main())
