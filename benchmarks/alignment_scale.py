"""Align many users at the paper's sizes (m = 96, s = 16): latents drawn at random, no encoders, the whole federation.

python benchmarks/alignment_scale.py [--users 100] [--rounds 30]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import tomli_w

import semfed
from semfed.scenario import overrides

WIDTH, PILOTS, TEST = 192, 1000, 100


def write_latents(folder: Path, users: int) -> None:
    """Write latents of one random source, seen through random maps."""
    generator = np.random.default_rng(0)
    source = {"train": generator.standard_normal((PILOTS, WIDTH)), "test": generator.standard_normal((TEST, WIDTH))}
    for name in ["ap", *map(str, range(users))]:
        view = generator.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5
        parts = {part: np.tanh(x @ view).astype(np.float32) for part, x in source.items()}
        labels = {f"{part}_labels": np.arange(len(x)) % 10 for part, x in source.items()}
        np.savez(folder / f"{name}.npz", **parts, **labels)


def write_scenario(folder: Path, users: int, rounds: int) -> Path:
    """Write the embedded scenario with these users."""
    tree = overrides.load("alignment-digits", ["uses=4"], arms=["shared"], seeds=[0]).tree()
    tree |= {"rounds": rounds, "clients": [{"name": f"user {k}", "task": "digit"} for k in range(users)]}
    tree["data"]["partition"] = {"name": "iid"}
    tree["training"] = {}  # the latents are there
    latents = {"name": "files", "access_point": "ap.npz", "users": [f"{k}.npz" for k in range(users)]}
    tree["learner"] |= {
        "pilots": PILOTS,
        "pilot_images": "any",
        "latents": latents,
        "classifier": {"epochs": 1, "optimizer": "adam"},
    }
    tree["strategy"] |= {"evaluate_every": rounds, "tolerance": 0.0, "relative_tolerance": 0.0}
    path = folder / "scenario.toml"
    path.write_text(tomli_w.dumps(tree))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_latents(folder, given.users)
        scenario = write_scenario(folder, given.users, given.rounds)
        started = time.perf_counter()
        run = semfed.run(scenario, data_root=folder, out=folder / "run")
        total = time.perf_counter() - started
        lines = [json.loads(line) for line in (run.folder / "timing.jsonl").read_text().splitlines()]
    exchange = sum(line["seconds"] for line in lines if 0 < line["round"] < given.rounds)
    final = run.summary["arms"]["shared"]["final"]
    result = {
        "users": given.users,
        "rounds": given.rounds,
        "seconds": {"total": round(total, 2), "rounds without test": round(exchange, 2)},
        "objective": final["objective"]["mean"],
        "bytes_up": final["cost/bytes_up"]["mean"],
        "bytes_down": final["cost/bytes_down"]["mean"],
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
