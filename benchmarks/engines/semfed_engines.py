"""The same work through semfed: ``mnist-1000.toml`` on any of its engines.

    python semfed_engines.py --data-root DIR --workload W1|W2 --engine inprocess|ray|flower [--workers N]
        [--checkpoint-every ROUNDS]

A round's time is the run folder's: from the end of one round to the end of the next, with everything that a user's run
does in between, aggregation, accounts and records included.
"""

import json
import tempfile
import time
from pathlib import Path

import torch
import workload
from safetensors.torch import load_file

import semfed

SCENARIO = Path(__file__).with_name("mnist-1000.toml")


def main() -> None:
    started = time.perf_counter()
    options = workload.arguments(__doc__.splitlines()[0], engine="inprocess", workers=0, checkpoint_every=0, cohort=0)
    settings = [f"checkpoint_every={options.checkpoint_every}"]
    settings += [f"arms.{options.workload}.rounds={options.rounds}"] if options.rounds else []
    with tempfile.TemporaryDirectory() as scratch:
        run = semfed.run(
            SCENARIO,
            engine=options.engine,
            arms=[options.workload],
            overrides=settings,
            data_root=options.data_root,
            out=Path(scratch) / "run",
            workers=options.workers or None,
            cohort=options.cohort or None,
        )
        timing = [json.loads(line) for line in (run.folder / "timing.jsonl").read_text().splitlines()]
        (file,) = (run.folder / "parameters").iterdir()
        kept = load_file(file)
    torch.set_num_threads(1)
    workload.tell(
        started,
        round_s=[line["seconds"] for line in timing if line["round"] > 0],
        opening_s=timing[0]["seconds"],
        accuracy=workload.accuracy(
            workload.load(options.data_root), [kept[name] for name in sorted(kept, key=by_layer)]
        ),
    )


def by_layer(name: str) -> tuple[int, int, int]:
    """Encoder before decoder, layer by layer, weights before biases."""
    part, layer, kind = name.split(".")
    return part != "encoder", int(layer), kind != "weight"


if __name__ == "__main__":
    main()
