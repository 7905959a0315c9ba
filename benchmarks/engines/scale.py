"""Many clients, with private state or without: seconds per client and peak memory of one process, in a run of its own.

    python scale.py --data-root DIR --clients N [--rounds R] [--state-memory MB] [--averaged]

Everyone trains alone (``exchange = false``) on six images of MNIST, one step of Adam a round, and keeps a network of
109,386 weights and two moments a weight: 1.3 MB a client, the size of the FedCL preset's encoder with its optimiser. Or
everyone gets an average of the weights and keeps nothing.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
from pathlib import Path

import semfed
from semfed.engine.spill import BUDGET_MB

SETTINGS = [
    "data.partition.per_client=6",
    "training.optimizer=adam",
    "training.lr=0.001",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", default=os.environ.get("SEMFED_DATA"))
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--state-memory", type=float, default=BUDGET_MB)
    parser.add_argument("--averaged", action="store_true", help="no private states: federated averaging")
    options = parser.parse_args()
    settings = [
        *SETTINGS,
        f"arms.W2.strategy.exchange={str(options.averaged).lower()}",
        f"clients.count={options.clients}",
        f"arms.W2.rounds={options.rounds}",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        run = semfed.run(
            Path(__file__).with_name("mnist-1000.toml"),
            arms=["W2"],
            overrides=settings,
            data_root=options.data_root,
            out=Path(scratch) / "run",
            state_memory_mb=options.state_memory,
        )
        lines = [json.loads(line) for line in (run.folder / "timing.jsonl").read_text().splitlines()]
    rounds = [line["seconds"] for line in lines if line["round"] > 1]  # states exist from the first round on
    found = {
        "clients": options.clients,
        "seconds_per_client": statistics.median(rounds) / options.clients,
        "opening_s": lines[0]["seconds"],
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
