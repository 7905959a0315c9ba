"""Where Ray's driver is the limit: rounds of actors that do nothing, the driver's time a message, and a model of it.

    python driver.py [--workers 2,16] [--clients 100,1000] [--numbers 64,109386] [--rounds N] [--out FILE]

The driver makes messages, hands them to actors, and takes their replies in; that is one thread, whatever the number of
cores. On two cores, sixteen actors cannot show how quick it could be, but the CPU time of its thread is its own:
t(n) = fixed + n x message, fitted over numbers of clients. So many messages a second are the most that any number of
cores and actors can be given, and actors that need c seconds a client are all busy as long as they are fewer than
c / message.
"""

import argparse
import itertools
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
STRATEGIES = {"summed": "fedavg", "whole": "idle_client:WholeReplies"}
WARM = 2
"""Rounds that are left out: actors come to know their clients, and the driver their pace."""
CLIENTS_OF_THE_MODEL = {"W1 of this benchmark": 0.001, "ten times as much": 0.01, "a FedCL client": 0.15}
"""Seconds of one core a client and round, for which the model tells how many actors a driver keeps busy."""

Entry = dict[str, Any]


def scenario(clients: Sequence[int], numbers: Sequence[int], rounds: int) -> dict[str, Any]:
    """Return rounds in which nobody trains, one image a client; an arm for every case, over the same actors."""
    arms = [
        {
            "name": f"{replies}-{count}-{size}",
            "learner": {"name": "idle_client:IdleClient", "numbers": size},
            "strategy": {"name": name, "fraction_evaluate": 0.0, "fraction_train": count / max(clients)},
        }
        for size, (replies, name), count in itertools.product(numbers, STRATEGIES.items(), clients)
    ]
    return {
        "name": "idle",
        "headline": "",
        "rounds": rounds,
        "seeds": [0],
        "checkpoint_every": 0,
        "keep_models": "none",
        "data": {"source": "digits", "partition": {"name": "iid", "per_client": 1}},
        "tasks": {"digit": {"values": list(range(10))}},
        "clients": {"count": max(clients), "task": "digit"},
        "model": {"encoder": "mlp", "decoder": "mlp"},
        "channel": {"name": "awgn", "uses": 4},
        "training": {"batch_size": 1},
        "learner": arms[0]["learner"],
        "strategy": arms[0]["strategy"],
        "arms": arms,
    }


class Clocks(Callback):
    """Reads all clocks after every round: the wall's, the driver's thread's, its process's, and those of Ray's."""

    def __init__(self) -> None:
        self.read: dict[str, list[dict[str, float]]] = {}

    def on_round(self, arm: str, *_: object) -> None:
        told = {"wall": time.perf_counter(), "thread": time.thread_time(), "process": time.process_time()}
        for child in psutil.Process().children(recursive=True):
            name = child.name()
            if name.startswith(("raylet", "gcs_server")):
                times = child.cpu_times()
                told[name] = told.get(name, 0.0) + times.user + times.system
        self.read.setdefault(arm, []).append(told)

    def medians(self, arm: str) -> dict[str, float]:
        """Return what a round took, in seconds, without the first ones; Ray's clocks are coarse, and give a mean."""
        read = self.read[arm][WARM:]
        steps = {name: [b[name] - a[name] for a, b in itertools.pairwise(read)] for name in read[0]}
        own = ("wall", "thread", "process")
        return {name: (statistics.median if name in own else statistics.fmean)(each) for name, each in steps.items()}


def measure(workers: int, clients: Sequence[int], numbers: Sequence[int], rounds: int) -> dict[str, Entry]:
    """Run in this process; return a round's seconds by arm."""
    clocks, tree = Clocks(), scenario(clients, numbers, rounds + WARM)
    with tempfile.TemporaryDirectory() as scratch:
        semfed.run(tree, engine="ray", workers=workers, out=Path(scratch) / "run", callbacks=[clocks])
    return {arm: clocks.medians(arm) for arm in clocks.read}


def fit(points: Mapping[int, float]) -> tuple[float, float]:
    """Return the fixed seconds of a round, and those of a message, from the seconds by number of clients.

    Least squares, where there are more than two; neither is negative, and a message takes a nanosecond at least.

    Examples
    --------
    >>> fit({100: 0.03, 1000: 0.21})
    (0.01, 0.0002)
    """
    mean_x, mean_y = statistics.fmean(points), statistics.fmean(points.values())
    scatter = sum((x - mean_x) ** 2 for x in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points.items()) / scatter
    return round(max(mean_y - slope * mean_x, 0.0), 9), round(max(slope, 1e-9), 9)


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
        groups.setdefault(f"{entry['replies']} replies, {entry['numbers']} numbers", []).append(entry)
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
    parser.add_argument("--workers", default="2,16")
    parser.add_argument("--clients", default="100,1000", help="that are asked in a round")
    parser.add_argument("--numbers", default="64,109386", help="float32 numbers that travel; W1's network has 109,386")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    clients, numbers = ([int(text) for text in getattr(given, name).split(",")] for name in ("clients", "numbers"))
    if given.one:
        print(json.dumps({"arms": measure(given.one, clients, numbers, given.rounds)}), flush=True)
        return
    command = " ".join(["python", "benchmarks/engines/driver.py", *sys.argv[1:]])
    content: Entry = {"machine": machine(), "command": command, "results": {}, "raw": []}
    for workers in map(int, given.workers.split(",")):
        words = [sys.executable, __file__, "--rounds", str(given.rounds), "--one", str(workers)]
        told = in_fresh_process([*words, "--clients", given.clients, "--numbers", given.numbers])
        for arm, figures in told.pop("arms").items():
            replies, count, size = arm.split("-")
            entry = {"replies": replies, "numbers": int(size), "workers": workers, "clients": int(count), **figures}
            content["raw"].append({**entry, "messages_per_s": int(count) / figures["wall"], **told})
        content["results"] = summarise(content["raw"]) if len(clients) > 1 else {}
        given.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["results"], indent=1))


if __name__ == "__main__":
    main()
