"""Seconds per round in the deployment: the layout for one machine as processes in network namespaces, with TLS.

    SEMFED_DATA=DIR python benchmarks/deployment.py [--times N] [--starved CPUS] [CASE ...]

Needs root (see ``deployment/rehearsal.py``). SuperNodes answer every message in a new process: that and their sleeps,
not training, is what a round costs, times the number of messages that a node gets one after the other.
Each case is run with client processes that are forked from a warm one, as the layouts have it, and with Flower's own,
which import everything anew; N times in turn, so that a machine that others use, too, treats both alike. With
``--starved`` each case is run once more, warm, with no more than so many CPUs for each service.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import tomllib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # not this folder, in which "deployment" is this very file

from benchmarks.quota import limited  # noqa: E402
from deployment.rehearsal import Rehearsal  # noqa: E402
from semfed.flower.protocol import WAIT  # noqa: E402

RESULT = Path(__file__).parent / "results" / "deployment.json"
LIMIT_S = 3600.0
CASES = {
    "clustered-mnist": "arms='clustered' seeds='0' rounds=3",
    "digits": "arms='clustered' seeds='0' rounds=3",
    "alignment-digits": "arms='shared' seeds='0' rounds=3",
    "fedcl-digits": "arms='fedcl' seeds='0' rounds=1",
    "iopm-federated": "arms='clustered' seeds='0' rounds=6",
    "mtoc-federated": "arms='clustered' seeds='0' rounds=2",
}
SHOWN = ("clients", "messages_per_round", "seconds_per_round", "seconds_per_round_cold", "warm_to_cold")
WARM = {"superexec": "flwr-serverapp"}
"""What is warm beside a SuperExec; ``flwr-clientapp`` beside all others."""


def measure(rehearsal: Rehearsal, scenario: str, run_config: str, times: int, starved: float | None) -> dict[str, Any]:
    """Run a case warm and cold in turn, then warm with few CPUs if asked for; medians over all rounds."""
    load = os.getloadavg()[0]
    warm, cold = [], []
    for _ in range(times):
        for runs in (cold, warm):
            switch(rehearsal, to_warm=runs is warm)
            runs.append(run_once(rehearsal, scenario, run_config))
    few: dict[str, Any] = {}
    if starved is not None:
        running = {name: process.pid for name, process in rehearsal.processes.items() if process.poll() is None}
        with limited(running, starved):
            few["cpus_starved"] = starved
            few["seconds_per_round_starved"] = round(
                statistics.median(run_once(rehearsal, scenario, run_config)["rounds"]), 2
            )
    seconds = {way: statistics.median(s for run in runs for s in run["rounds"]) for way, runs in
               (("warm", warm), ("cold", cold))}  # fmt: skip
    return {
        "run_config": run_config,
        "clients": warm[0]["clients"],
        "nodes": warm[0]["nodes"],
        "rounds": sum(len(run["rounds"]) for run in warm),
        "messages_per_round": warm[0]["messages_per_round"],
        "seconds_per_round": round(seconds["warm"], 2),
        "seconds_per_round_cold": round(seconds["cold"], 2),
        "warm_to_cold": round(seconds["warm"] / seconds["cold"], 3),
        **few,
        "seconds_to_open": round(statistics.median(run["open"] for run in warm), 2),
        "seconds_to_open_cold": round(statistics.median(run["open"] for run in cold), 2),
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
    }


def switch(rehearsal: Rehearsal, *, to_warm: bool) -> None:
    """Start the SuperExecs again with a warm process each or without, and wait until they are up."""
    for name, service in list(rehearsal.services.items()):
        if name.startswith("superexec"):
            command = WARM.get(name, "flwr-clientapp")
            how = ("python", "/srv/warm/superexec.py", command) if to_warm else ("flower-superexec",)
            options = [word for word in service.command if word.startswith("--")]
            rehearsal.services[name] = replace(service, command=(*how, *options))
            if name in rehearsal.processes:
                rehearsal.kill(name)
            before = len(rehearsal.log(name))
            rehearsal.start(name)
            rehearsal.await_log(name, "Starting Flower SuperExec", after=before)


def run_once(rehearsal: Rehearsal, scenario: str, run_config: str) -> dict[str, Any]:
    before = replies(rehearsal)
    run = rehearsal.submit(f"/srv/scenarios/{scenario}", run_config)
    status = rehearsal.finish(run, LIMIT_S)
    folder = rehearsal.folder(run)
    if status != "finished:completed":
        summary = folder / "summary.json"  # not there if its process was killed
        raise SystemExit(
            f"{scenario}: {status} {json.loads(summary.read_text()).get('error', '') if summary.exists() else ''}"
        )
    timings = [json.loads(line) for line in (folder / "timing.jsonl").read_text().splitlines()]
    rounds = [t["seconds"] for t in timings if t["round"] > 0]
    nodes = sum(name.startswith("supernode-") for name in rehearsal.services)
    openings = nodes * (len(timings) - len(rounds))
    return {
        "clients": len(tomllib.loads((folder / "scenario.toml").read_text())["clients"]),
        "nodes": nodes,
        "rounds": rounds,
        "messages_per_round": round((replies(rehearsal) - before - openings) / len(rounds), 2),
        "open": statistics.median(t["seconds"] for t in timings if t["round"] == 0),
    }


def replies(rehearsal: Rehearsal) -> int:
    """Count what nodes have answered so far, but for messages that only keep them busy."""
    logs = [rehearsal.log(name) for name in rehearsal.services if name.startswith("supernode-")]
    return sum(log.count("Sending: ") - log.count(f"Sending: {WAIT} ") for log in logs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="how often each way; 1 by default")
    parser.add_argument("--starved", type=float, metavar="CPUS", help="also with so many CPUs for each service")
    given = parser.parse_args()
    names = given.cases or list(CASES)
    unknown = set(names) - set(CASES)
    if unknown:
        parser.error(f"unknown cases: {', '.join(sorted(unknown))}")
    measured: dict[str, Any] = json.loads(RESULT.read_text())["cases"] if RESULT.exists() else {}  # others stay
    data = os.environ.get("SEMFED_DATA")
    with (
        tempfile.TemporaryDirectory(prefix="semfed-deployment-") as scratch,
        Rehearsal(Path(scratch), Path(data).resolve() if data else None) as rehearsal,
    ):
        rehearsal.up()
        print(f"{'case':<20}" + "".join(f"{name.replace('_', ' '):>24}" for name in SHOWN))
        for name in names:
            options = f" --times {given.times}" * (given.times > 1) + f" --starved {given.starved}" * bool(
                given.starved
            )
            figures = measure(rehearsal, name, CASES[name], given.times, given.starved)
            measured[name] = {"command": f"python benchmarks/deployment.py {name}{options}", **figures}
            print(f"{name:<20}" + "".join(f"{measured[name][key]:>24}" for key in SHOWN), flush=True)
            result = {
                "name": "deployment",
                "description": "Seconds per round with TLS and authentication; messages are those of all nodes",
                "cpus": os.cpu_count(),
                "flwr": version("flwr"),
                "cases": measured,
            }
            RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
