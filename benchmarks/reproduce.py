"""Reproduce the committed results: run scenarios as they are and condense their summaries into ``results/``.

    SEMFED_DATA=DIR python benchmarks/reproduce.py [SCENARIO ...]

A result is a small JSON file: what was run, with which command and versions, and the final figures of every arm.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import semfed
from semfed.experiment import plots
from semfed.experiment.progress import Progress
from semfed.scenario import built_in

ROOT = Path(__file__).parents[1]


def condense(run: Any, command: str) -> dict[str, Any]:
    environment = json.loads((run.folder / "environment.json").read_text())
    arms = {
        name: {
            kind: {metric: entry for metric, entry in arm[kind].items() if metric.startswith(("accuracy/", "cost/"))}
            for kind in ("final", "round_mean")
        }
        for name, arm in run.summary["arms"].items()
    }
    return {
        "name": run.scenario.name,
        "description": run.scenario.description,
        "command": command,
        "settings": run.scenario.tree(),
        "packages": environment["packages"],
        "baselines": run.summary["baselines"],
        "clusters": run.summary["clusters"],
        "similarity": run.summary["similarity"],
        "threshold": run.summary["threshold"],
        "arms": arms,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", default=sorted(built_in()))
    for name in parser.parse_args().scenarios:
        with tempfile.TemporaryDirectory() as scratch:
            run = semfed.run(name, out=Path(scratch) / name, callbacks=[Progress()])
            target = ROOT / "scenarios" / name / "results"
            target.mkdir(exist_ok=True)
            result = condense(run, f"semfed run {name} --data-root DIR")
            (target / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
            for picture in plots.plot(run.folder):
                if picture.stem in ("accuracy-average-vs-round", "similarity"):
                    (target / picture.name).write_bytes(picture.read_bytes())
        print(target / f"{name}.json")


if __name__ == "__main__":
    main()
