"""What local differential privacy costs clustered CMT-SemCom on MNIST, over epsilon.

    SEMFED_DATA=DIR python benchmarks/privacy.py labels [--seeds 0-19]
    SEMFED_DATA=DIR python benchmarks/privacy.py updates [--seeds 0-1] [--rounds N]

Labels and updates are protected apart from each other, so that each price can be seen. Noise on the labels can only
change the clusters, so no training is needed to see what it does. The noise is seeded: the figures can be reproduced,
and the runs themselves protect nobody.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import semfed
from semfed.algorithms.privacy import spent
from semfed.engine.inprocess import InProcessGrid
from semfed.flower.client.app import make_client_app
from semfed.flower.compat import task_identity
from semfed.flower.server.federation import Federation
from semfed.flower.server.run import make_strategy
from semfed.flower.trial import Trial
from semfed.scenario import overrides

RESULTS = Path(__file__).parents[1] / "scenarios" / "clustered-mnist" / "results"
SCENARIO, ARM = "clustered-mnist", "clustered"
LABELS = (1.0, 0.1, 0.01, 0.001, 0.0003)
ALPHABETS = ("named", "label-index")
UPDATES = (10_000.0, 1_000.0, 100.0)
CLIPPING, DELTA = 1.0, 1e-5
SEEDED = 'privacy.noise="seeded"'


def clusters(seeds: Sequence[int], alphabet: str, epsilon: float | None) -> list[Any]:
    """Return what the server takes for clusters, for every seed."""
    private = [] if epsilon is None else [SEEDED, f"privacy.labels={{epsilon={epsilon}}}"]
    scenario = overrides.load(SCENARIO, [f"strategy.alphabet={alphabet}", *private], seeds=seeds)
    app, found = make_client_app(), []
    for seed in seeds:
        grid = InProcessGrid(app, len(scenario.clients), {"data-root": os.environ["SEMFED_DATA"]})
        trial = Trial(scenario.arm(ARM), ARM, seed)
        federation, strategy = Federation(grid, trial), make_strategy(trial)
        strategy.prepare(federation)  # type: ignore[attr-defined]
        found.append(strategy.clusters)  # type: ignore[attr-defined]
    return found


def labels(seeds: Sequence[int], _: int) -> list[dict[str, Any]]:
    cases = []
    with task_identity():
        for alphabet in ALPHABETS:
            right = clusters(seeds, alphabet, None)
            for epsilon in LABELS:
                same = sum(a == b for a, b in zip(clusters(seeds, alphabet, epsilon), right, strict=True))
                cases.append({"alphabet": alphabet, "epsilon": epsilon, "seeds_with_the_same_clusters": same})
    return cases


def updates(seeds: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    return [accuracy(epsilon, seeds, rounds) for epsilon in (None, *UPDATES)]


def accuracy(epsilon: float | None, seeds: Sequence[int], rounds: int) -> dict[str, Any]:
    table = f"privacy.updates={{clipping_norm={CLIPPING}, epsilon={epsilon}, delta={DELTA}}}"
    changes = [f"rounds={rounds}", *([] if epsilon is None else [SEEDED, table])]
    with tempfile.TemporaryDirectory() as scratch:
        run = semfed.run(SCENARIO, arms=[ARM], seeds=seeds, overrides=changes, out=Path(scratch) / "run")
        records = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    last = [r["value"] for r in records if r["metric"] == "accuracy/average" and r["round"] == rounds]
    private = run.scenario.arm(ARM).privacy.updates
    return {
        "epsilon": epsilon,
        "epsilon_of_all_rounds": None if private is None else spent(private, rounds),
        "accuracy_mean": statistics.mean(last),
        "accuracy_std": statistics.pstdev(last),
        "accuracy_per_seed": last,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["labels", "updates"])
    parser.add_argument("--seeds", default="0-1")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    seeds = overrides.parse_seeds(given.seeds)
    options = f"--seeds {given.seeds}" + (f" --rounds {given.rounds}" if given.what == "updates" else "")
    result: dict[str, Any] = {
        "name": f"privacy-{given.what}",
        "description": {
            "labels": "In how many seeds noise on the told label counts leaves the clusters as they are",
            "updates": "Average accuracy of the clustered arm after the last round, with noise on the updates",
        }[given.what],
        "command": f"python benchmarks/privacy.py {given.what} {options}",
        "scenario": SCENARIO,
        "seeds": list(seeds),
    }
    if given.what == "updates":
        result |= {"rounds": given.rounds, "delta": DELTA, "clipping_norm": CLIPPING}
    result["cases"] = {"labels": labels, "updates": updates}[given.what](seeds, given.rounds)
    (RESULTS / f"privacy-{given.what}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
