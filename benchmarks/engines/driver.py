"""Where Ray's driver is the limit: rounds of actors that do nothing, the driver's time a message, and a model of it.

    python driver.py [--workers 1,2,4,8,16] [--clients 100,1000] [--numbers 64,109386] [--rounds N] [--out FILE]

The driver makes messages, hands them to actors, and takes their replies in; that is one thread, whatever the number of
cores. On two cores, sixteen actors cannot show how quick it could be, but the CPU time of its thread is its own:
t(n) = fixed + n x message, fitted over numbers of clients. So many messages a second are the most that any number of
cores and actors can be given, and actors that need c seconds a client are all busy as long as they are fewer than
c / message.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from processes import FOLDER, machine
from processes import measure as in_fresh_process

import semfed
from semfed.events.callbacks import Callback

RESULTS = FOLDER.parent / "results" / "driver.json"
STRATEGIES = {"summed in the actors": "fedavg", "whole replies": "idle_client:WholeReplies"}
WARM = 2
"""Rounds that are left out: actors come to know their clients, and the driver their pace."""
CLIENTS_OF_THE_MODEL = {"W1 of this benchmark": 0.001, "ten times as much": 0.01, "a FedCL client": 0.15}
"""Seconds of one core a client and round, for which the model tells how many actors a driver keeps busy."""

Entry = dict[str, Any]


def scenario(clients: int, numbers: int, strategy: str, rounds: int) -> dict[str, Any]:
    """Return rounds in which nobody trains; one image a client."""
    return {
        "name": "idle",
        "headline": "",
        "rounds": rounds,
        "seeds": [0],
        "checkpoint_every": 0,
        "keep_models": "none",
        "data": {"source": "digits", "partition": {"name": "iid", "per_client": 1}},
        "tasks": {"digit": {"values": list(range(10))}},
        "clients": {"count": clients, "task": "digit"},
        "model": {"encoder": "mlp", "decoder": "mlp"},
        "channel": {"name": "awgn", "uses": 4},
        "learner": {"name": "idle_client:IdleClient", "numbers": numbers},
        "strategy": {"name": strategy, "fraction_evaluate": 0.0},
    }


class Clocks(Callback):
    """Reads all clocks after every round: the wall's, the driver's thread's, its process's, and those of Ray's."""

    def __init__(self) -> None:
        self.read: list[dict[str, float]] = []

    def on_round(self, *_: object) -> None:
        told = {"wall": time.perf_counter(), "thread": time.thread_time(), "process": time.process_time()}
        for child in psutil.Process().children(recursive=True):
            name = child.name()
            if name.startswith(("raylet", "gcs_server")):
                times = child.cpu_times()
                told[name] = told.get(name, 0.0) + times.user + times.system
        self.read.append(told)

    def rounds(self) -> list[dict[str, float]]:
        """Return what every round took, without the first ones."""
        pairs = zip(self.read[WARM:], self.read[WARM + 1 :], strict=False)
        return [{name: after[name] - before.get(name, 0.0) for name in after} for before, after in pairs]


def measure(workers: int, clients: int, numbers: int, strategy: str, rounds: int) -> Entry:
    """Run in this process; return medians of a round, in seconds."""
    clocks = Clocks()
    tree = scenario(clients, numbers, strategy, rounds + WARM)
    with tempfile.TemporaryDirectory() as scratch:
        semfed.run(tree, engine="ray", workers=workers, out=Path(scratch) / "run", callbacks=[clocks])
    told = clocks.rounds()
    medians = {name: statistics.median(each[name] for each in told) for name in told[0]}
    return {**medians, "messages_per_s": clients / medians["wall"]}


def fit(points: Mapping[int, float]) -> tuple[float, float]:
    """Return the fixed seconds of a round, and those of a message, from the seconds by number of clients.

    Least squares, where there are more than two; neither is negative.

    Examples
    --------
    >>> fit({100: 0.03, 1000: 0.21})
    (0.01, 0.0002)
    """
    mean_x, mean_y = statistics.fmean(points), statistics.fmean(points.values())
    scatter = sum((x - mean_x) ** 2 for x in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points.items()) / scatter
    return round(max(mean_y - slope * mean_x, 0.0), 9), round(max(slope, 0.0), 9)


def model(fixed_s: float, message_s: float, client_s: float, clients: int = 1000) -> Entry:
    """Say where a driver saturates for clients of `client_s` seconds: see the text of this module."""
    limit = 1 / (fixed_s + clients * message_s)
    return {
        "client_s": client_s,
        "actors_kept_busy": client_s / message_s,
        f"most_rounds_per_s_of_{clients}": limit,
        f"rounds_per_s_of_{clients}_with_16_actors": 1 / (fixed_s + clients * max(message_s, client_s / 16)),
    }


def summarise(entries: Iterable[Entry]) -> Entry:
    """Return by kind of reply and size: the driver's cost, and what it comes to.

    Costs are of the thread that drives, and of its whole process; a driver is between the two, for the other threads
    have the other cores, but share Python's lock.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(f"{entry['replies']}, {entry['numbers']} numbers", []).append(entry)
    told = {}
    for name, group in groups.items():
        most = max(entry["workers"] for entry in group)
        own = [entry for entry in group if entry["workers"] == most]
        fixed, message = fit({e["clients"]: e["thread"] for e in own})
        _, process = fit({e["clients"]: e["process"] for e in own})
        told[name] = {
            "workers": most,
            "fixed_s": fixed,
            "message_s": message,
            "message_s_of_the_process": process,
            "most_messages_per_s": 1 / message,
            "measured_messages_per_s": {
                f"{e['workers']} actors, {e['clients']} clients": round(e["messages_per_s"], 1) for e in group
            },
            "model": {about: model(fixed, message, seconds) for about, seconds in CLIENTS_OF_THE_MODEL.items()},
        }
    return told


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", default="1,2,4,8,16")
    parser.add_argument("--clients", default="100,1000")
    parser.add_argument("--numbers", default="64,109386", help="float32 numbers that travel; W1's network has 109,386")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        workers, clients, numbers, strategy = given.one
        print(json.dumps(measure(int(workers), int(clients), int(numbers), strategy, given.rounds)), flush=True)
        return
    counts = {
        name: [int(text) for text in getattr(given, name).split(",")] for name in ("workers", "clients", "numbers")
    }
    command = " ".join(["python", "benchmarks/engines/driver.py", *sys.argv[1:]])
    content: Entry = {"machine": machine(), "command": command, "results": {}, "raw": []}
    for numbers in counts["numbers"]:
        for replies, strategy in STRATEGIES.items():
            for workers in counts["workers"]:
                for clients in counts["clients"]:
                    words = [sys.executable, __file__, "--rounds", str(given.rounds)]
                    words += ["--one", str(workers), str(clients), str(numbers), strategy]
                    entry = {"replies": replies, "numbers": numbers, "workers": workers, "clients": clients}
                    entry |= in_fresh_process(words)
                    content["raw"].append(entry)
                    print(json.dumps(entry), flush=True)
            if len(counts["clients"]) > 1:
                content["results"] = summarise(content["raw"])
            given.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
