"""Make the committed tables of latent-space alignment: run the sweeps and condense them into ``results/``.

    SEMFED_DATA=DIR python benchmarks/alignment_tables.py [TABLE ...]

Every table is one ``semfed run`` command, which stands in its JSON file beside settings, versions and numbers.
"""

import argparse
import json
import shlex
import tempfile
from pathlib import Path
from typing import Any

import semfed
from semfed.experiment.folder import read_json
from semfed.scenario import Scenario, read, validate

ROOT = Path(__file__).parents[1]
ALIGNED = "shared,multi-link"
SENDING = f"{ALIGNED},first-k,top-k,eigen-k"
TABLES: dict[str, dict[str, Any]] = {
    "alignment-mnist/headline": {"sweep": "channel.uses=2,4"},
    "alignment-mnist/optimum": {
        "sweep": "channel.uses=1,2,4,12",
        "arms": "shared",
        "set": ['arms.shared.strategy.mode="bcd"', "rounds=1000", "tolerance=0", "relative_tolerance=0"],
    },
    "alignment-mnist/compression": {"sweep": "channel.uses=1,2,4,6,12"},
    "alignment-mnist/compression-homogeneous": {"sweep": "channel.uses=1,2,4,6,12", "set": ["homogeneous=true"]},
    "alignment-mnist/snr": {"sweep": "channel.snr_db=-20,-10,0,10,20,30", "arms": SENDING},
    "alignment-mnist/pilots": {"sweep": "pilots=150,500,1000,2000,4000,8000", "arms": SENDING},
    "alignment-mnist/scaled": {"sweep": "channel.uses=1,2,4", "arms": ALIGNED, "set": ["target_whitening=scale"]},
    "alignment-mnist/widely-linear": {"sweep": "channel.uses=1,2,4", "arms": ALIGNED, "set": ["widely_linear=true"]},
    "alignment-mnist/widely-linear-scaled": {
        "sweep": "channel.uses=1,2,4",
        "arms": ALIGNED,
        "set": ["widely_linear=true", "target_whitening=scale"],
    },
    "alignment-mnist/modes": {"sweep": "strategy.mode=admm,bcd,reference", "arms": "shared"},
    "alignment-digits/compression": {"sweep": "channel.uses=1,2,3", "set": ["rounds=2000"]},
    "alignment-cifar10/compression": {"sweep": "channel.uses=1,2,4,12"},
}
METRICS = ("accuracy/average", "nmse/average", "objective", "admm/rounds", "admm/converged", "cost/bytes_up",
           "cost/bytes_down")  # fmt: skip


def command(scenario: str, table: dict[str, Any]) -> str:
    parts = ["semfed", "run", scenario, "--data-root", "DIR"]
    if "arms" in table:
        parts += ["--arms", table["arms"]]
    for override in overrides(table):
        parts += ["--set", override]
    return shlex.join([*parts, "--sweep", table["sweep"]])


def overrides(table: dict[str, Any]) -> list[str]:
    return [*table.get("set", []), "evaluate_every=500", "checkpoint_every=0"]


def condense(folder: Path, name: str, table: dict[str, Any]) -> dict[str, Any]:
    scenario: Scenario = validate(read(folder / "scenario.toml"))
    summary, tree = read_json(folder / "summary.json"), scenario.tree()
    return {
        "name": name,
        "description": f"{scenario.description} Metrics after the last round, all test images, mean over users.",
        "command": command(scenario.name, table),
        "seeds": tree["seeds"],
        "settings": {key: tree[key] for key in ("rounds", "data", "channel", "training", "learner", "sweep")},
        "packages": read_json(folder / "environment.json")["packages"],
        "baselines": summary["baselines"],
        "arms": {
            arm: {metric: entry["final"][metric] for metric in METRICS if metric in entry["final"]}
            for arm, entry in summary["arms"].items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=list(TABLES))
    parser.add_argument(
        "--runs", type=Path, help="take run folders TABLE from here where they exist, and keep new ones"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.tables:
            scenario, file = name.split("/")
            table, folder = TABLES[name], (given.runs or Path(scratch)) / name
            if not (folder / "summary.json").is_file():
                arms = table["arms"].split(",") if "arms" in table else None
                semfed.run(scenario, arms=arms, overrides=overrides(table), sweep=table["sweep"], out=folder)
            target = ROOT / "scenarios" / scenario / "results" / f"{file}.json"
            target.parent.mkdir(exist_ok=True)
            target.write_text(json.dumps(condense(folder, name, table), indent=1) + "\n")
            print(target)


if __name__ == "__main__":
    main()
