"""Seconds per round in the deployment: the layout for one machine as processes in network namespaces, with TLS.

    SEMFED_DATA=DIR python benchmarks/deployment.py [CASE ...]

Needs root (see ``deployment/rehearsal.py``). SuperNodes ask for messages every 3 s and answer each in a new
process: that, not training, is what a round costs, times the number of messages that a client gets one after the other.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from deployment.rehearsal import Rehearsal  # noqa: E402

RESULT = Path(__file__).parent / "results" / "deployment.json"
LIMIT_S = 3600.0
CASES = {
    "clustered-mnist": "arms='clustered' seeds='0' rounds=3",
    "digits": "arms='clustered' seeds='0' rounds=3",
    "alignment-digits": "seeds='0'",
    "fedcl-digits": "arms='fedcl' seeds='0' rounds=1",
    "iopm-federated": "seeds='0' rounds=2",
    "mtoc-federated": "seeds='0' rounds=2",
}


def measure(rehearsal: Rehearsal, scenario: str, run_config: str) -> dict[str, Any]:
    pushed = rehearsal.log("superlink").count("[Fleet.PushMessages]")
    load = os.getloadavg()[0]
    run = rehearsal.submit(f"/srv/scenarios/{scenario}", run_config)
    status = rehearsal.finish(run, LIMIT_S)
    timings = [json.loads(line) for line in (rehearsal.folder(run) / "timing.jsonl").read_text().splitlines()]
    rounds = [t["seconds"] for t in timings if t["round"] > 0]
    return {
        "run_config": run_config,
        "status": status,
        "seconds_to_open": statistics.median(t["seconds"] for t in timings if t["round"] == 0),
        "seconds_per_round": statistics.median(rounds),
        "rounds": len(rounds),
        "replies": rehearsal.log("superlink").count("[Fleet.PushMessages]") - pushed,
        "load_before": round(load, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), choices=[*CASES, []])
    names = parser.parse_args().cases
    measured: dict[str, Any] = {}
    data = os.environ.get("SEMFED_DATA")
    with (
        tempfile.TemporaryDirectory(prefix="semfed-deployment-") as scratch,
        Rehearsal(Path(scratch), Path(data).resolve() if data else None) as rehearsal,
    ):
        rehearsal.up()
        for name in names:
            measured[name] = measure(rehearsal, name, CASES[name])
            print(name, measured[name], flush=True)
            result = {
                "name": "deployment",
                "description": "Seconds per round with 3 SuperNodes, TLS and authentication",
                "command": f"python benchmarks/deployment.py {' '.join(names)}",
                "cpus": os.cpu_count(),
                "flwr": version("flwr"),
                "cases": measured,
            }
            RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
