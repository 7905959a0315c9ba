"""Reproduce the committed results: run scenarios as they are and condense their summaries into ``results/``.

    SEMFED_DATA=DIR python benchmarks/reproduce.py [SCENARIO ...]

Without names: every scenario that has such a result. The tables of latent alignment have a script of their own,
``alignment_tables.py``; other results name the command that made them.

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
            kind: {
                metric: entry
                for metric, entry in arm[kind].items()
                if metric.startswith(("accuracy", "error", "cost/"))
            }
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


def result_of(name: str) -> Path:
    return ROOT / "scenarios" / name / "results" / f"{name}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", default=[name for name in built_in() if result_of(name).is_file()])
    for name in parser.parse_args().scenarios:
        with tempfile.TemporaryDirectory() as scratch:
            run = semfed.run(name, out=Path(scratch) / name, callbacks=[Progress()])
            target = result_of(name).parent
            target.mkdir(exist_ok=True)
            result = condense(run, f"semfed run {name} --data-root DIR")
            result_of(name).write_text(json.dumps(result, indent=1) + "\n")
            for picture in plots.plot(run.folder):
                if picture.stem in ("accuracy-average-vs-round", "similarity"):
                    (target / picture.name).write_bytes(picture.read_bytes())
        print(result_of(name))


if __name__ == "__main__":
    main()
