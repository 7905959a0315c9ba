"""From typing ``semfed run digits`` to the record of the first round: a cold process.

python startup.py --engine inprocess|ray
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POLL_S = 0.002


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=("inprocess", "ray", "flower"), default="inprocess")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "run"
        command = [str(Path(sys.executable).with_name("semfed")), "run", "digits", "--engine", options.engine]
        few = ["--seeds", "0", "--arms", "clustered", "--set", "rounds=1", "--out", str(out)]
        started = time.perf_counter()
        process = subprocess.Popen([*command, *few], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        moments: list[float] = []  # of round 0, which opens the trial, and of round 1
        while len(moments) < 2:
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode} before its first round")
            timing = out / "timing.jsonl"
            lines = timing.read_text().count("\n") if timing.exists() else 0
            moments += [time.perf_counter() - started] * (lines - len(moments))
            time.sleep(POLL_S)
        process.wait()
        found = {"opened_s": moments[0], "first_round_s": moments[1], "whole_s": time.perf_counter() - started}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
