"""What local differential privacy costs: accuracy of clustered CMT-SemCom on MNIST over epsilon.

    SEMFED_DATA=DIR python benchmarks/privacy.py [--seeds 0,1,2] [--rounds N]

Labels and updates are protected apart from each other, so that each price can be seen. The noise is seeded: the figures
can be reproduced, and the runs themselves protect nobody.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import semfed

RESULT = Path(__file__).parents[1] / "scenarios" / "clustered-mnist" / "results" / "privacy.json"
SCENARIO, ARM = "clustered-mnist", "clustered"
LABELS = (0.01, 0.001, 0.0003)
UPDATES = (10_000.0, 1_000.0, 100.0)
CLIPPING, DELTA = 1.0, 1e-5


def cases() -> Iterator[tuple[str, float | None, list[str]]]:
    yield "nothing", None, []
    for epsilon in UPDATES:
        table = f"privacy.updates={{clipping_norm={CLIPPING}, epsilon={epsilon}, delta={DELTA}}}"
        yield "updates", epsilon, [table, 'privacy.noise="seeded"']
    for epsilon in LABELS:
        yield "labels", epsilon, [f"privacy.labels={{epsilon={epsilon}}}", 'privacy.noise="seeded"']


def measure(protected: str, epsilon: float | None, overrides: list[str], seeds: list[int], rounds: int) -> Any:
    with tempfile.TemporaryDirectory() as scratch:
        changes = [f"rounds={rounds}", *overrides]
        run = semfed.run(SCENARIO, arms=[ARM], seeds=seeds, overrides=changes, out=Path(scratch) / "run")
        records = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        outcomes = [json.loads(line) for line in (run.folder / "outcomes.jsonl").read_text().splitlines()]
    last = [r["value"] for r in records if r["metric"] == "accuracy/average" and r["round"] == rounds]
    updates = run.scenario.arm(ARM).privacy.updates
    return {
        "protected": protected,
        "epsilon": epsilon,
        "epsilon_of_all_rounds": None if updates is None else updates.spent(rounds),
        "accuracy_mean": statistics.mean(last),
        "accuracy_std": statistics.pstdev(last),
        "accuracy_per_seed": last,
        "clusters_per_seed": [outcome["details"]["clusters"] for outcome in outcomes],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    measured = []
    for case in cases():
        measured.append(measure(*case, seeds, arguments.rounds))
        print(measured[-1], flush=True)
        result = {
            "name": "privacy",
            "description": "Average accuracy of the clustered arm after the last round, under local privacy",
            "command": f"python benchmarks/privacy.py --seeds {arguments.seeds} --rounds {arguments.rounds}",
            "scenario": SCENARIO,
            "seeds": seeds,
            "rounds": arguments.rounds,
            "delta": DELTA,
            "clipping_norm": CLIPPING,
            "cases": measured,
        }
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
