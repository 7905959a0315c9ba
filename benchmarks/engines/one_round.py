"""One round of a scenario as it stands, tests included: the first arm, the first seed.

    python one_round.py SCENARIO [--engine E] [--workers N] [--rounds R]

Rounds after the first one count where there are several, since the first one also makes networks and fills caches.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import semfed
from semfed.scenario import overrides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario")
    parser.add_argument("--engine", default="inprocess")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    complete = overrides.load(options.scenario, options.set)
    with tempfile.TemporaryDirectory() as scratch:
        run = semfed.run(
            complete,
            engine=options.engine,
            arms=complete.arm_names[:1],
            seeds=complete.seeds[:1],
            overrides={"rounds": min(options.rounds, complete.rounds)},
            out=Path(scratch) / "run",
            workers=options.workers,
        )
        lines = [json.loads(line) for line in (run.folder / "timing.jsonl").read_text().splitlines()]
    seconds = [line["seconds"] for line in lines if line["round"] > 0]
    print(json.dumps({"round_s": statistics.median(seconds[1:] or seconds), "opening_s": lines[0]["seconds"]}))


if __name__ == "__main__":
    main()
