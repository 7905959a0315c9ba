"""Compare the engines with a hand-written loop, pfl-research and Flower's own simulation; write ``engines.json``.

    SEMFED_DATA=DIR python bench.py [--quick] [--only W1,W2,W3,scale,scale-averaged,startup,scenarios,memory]
        [--patience S] [--out FILE]

Everything runs in fresh processes, one at a time. Implementations take turns, so that other load meets all of them
alike. A run begins when two processes get two CPUs, and is taken again if they do not at its end, as long as there is
patience (seconds, of all runs together); both shares and the load average before are part of the raw results. What is
not installed is left out and said so.
Sections that are not asked for keep what the file holds.
"""

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from processes import FOLDER, machine, measure
from quiet import Patience, is_quiet, share
from summary import FEW, MANY, summarise

from semfed.scenario import built_in

RESULTS = FOLDER.parent / "results" / "engines.json"
PFL = FOLDER / ".venv-pfl" / "bin" / "python"
SECTIONS = ("W1", "W2", "W3", "scale", "scale-averaged", "startup", "memory", "scenarios")
ENGINES = {
    "inprocess": ["--engine", "inprocess"],
    "ray-1": ["--engine", "ray", "--workers", "1"],
    "ray-2": ["--engine", "ray", "--workers", "2"],
    "flower": ["--engine", "flower"],
}
COHORTS = (4, 32)
PATIENCE_S = 900.0
QUICK = ("plain-1", "inprocess", "ray-2", "pfl")
SHORTENED = {
    "iopm-federated": ["learner.common.rounds=1"],
    "iopm": ["learner.common.epochs=1"],
    "mtoc": ["training.epochs=1"],
}
"""Settings by the beginning of a scenario's name, the first that fits, so that two rounds show all there is to time."""

Task = tuple[str, dict[str, Any], list[str], bool]
"""Section, facts, command, whether to sample memory."""


def available(pfl: Path) -> dict[str, list[str]]:
    """Return the commands of W1 and W2 by implementation; say what is missing."""
    ours = [sys.executable, "semfed_engines.py"]
    commands = {
        "plain-1": [sys.executable, "plain_loop.py"],
        "plain-2": [sys.executable, "plain_loop.py", "--processes", "2"],
        **{name: [*ours, *options] for name, options in ENGINES.items()},
        "inprocess-kept": [*ours, "--checkpoint-every", "1"],
        **{f"inprocess-cohort-{size}": [*ours, "--cohort", str(size)] for size in COHORTS},
        "pfl": [str(pfl), "pfl_research.py"],
    }
    if importlib.util.find_spec("ray") is None:
        print("left out: ray and flower, for ray is not installed", flush=True)
        commands = {name: command for name, command in commands.items() if name not in ("ray-1", "ray-2", "flower")}
    if not pfl.exists():
        print(f"left out: pfl-research, for there is no '{pfl}' (make pfl)", flush=True)
        del commands["pfl"]
    return commands


def tasks(section: str, commands: dict[str, list[str]], quick: bool) -> Iterator[Task]:
    """Yield what a section runs, in the order in which it takes turns."""
    repetitions = {"W1": 5, "W2": 3, "startup": 3, "memory": 1, "scenarios": 1}.get(section, 2)
    chosen = {name: command for name, command in commands.items() if not quick or name in QUICK}
    engines = {name: options for name, options in ENGINES.items() if name in chosen}
    python = sys.executable
    for repetition in range(1 if quick else repetitions):
        facts = {"repetition": repetition}
        if section in ("W1", "W2"):
            for name, command in chosen.items():
                if name == "flower" and repetition:  # minutes a run, and a ratio far from any bar
                    continue
                short = ["--rounds", "4"] if section == "W1" and (quick or name == "flower") else []
                yield section, {**facts, "implementation": name}, [*command, "--workload", section, *short], False
        elif section == "memory":
            for name, command in chosen.items():
                whole = [*command, "--workload", "W2", "--rounds", "2"]
                yield "memory W2", {**facts, "implementation": name}, whole, True
        elif section == "W3":
            for name, options in {"direct": ["--engine", "direct"], **engines}.items():
                seconds = "1" if quick else "10" if name == "flower" else "4"
                yield (
                    section,
                    {**facts, "implementation": name},
                    [python, "exchange.py", *options, "--seconds", seconds],
                    False,
                )
        elif section in ("scale", "scale-averaged"):
            averaged = ["--averaged"] if section == "scale-averaged" else []
            for clients, rounds in ((FEW, 60), (1000 if quick else MANY, 8)):
                command = [python, "scale.py", "--clients", str(clients), "--rounds", str(rounds), *averaged]
                yield section, {**facts, "implementation": f"inprocess, {clients}"}, command, False
        elif section == "startup":
            for engine in [name for name in ("inprocess", "ray") if name == "inprocess" or "ray-2" in engines]:
                yield section, {**facts, "implementation": engine}, [python, "startup.py", "--engine", engine], False
        elif section == "scenarios":
            for scenario in built_in() if not quick else ["digits"]:
                short = next((settings for start, settings in SHORTENED.items() if scenario.startswith(start)), [])
                for name, options in engines.items():
                    command = [python, "one_round.py", scenario, *options, *(f"--set={text}" for text in short)]
                    yield section, {**facts, "implementation": name, "scenario": scenario}, command, False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one repetition, fewer rounds, without Flower")
    parser.add_argument("--only", default=None, help=f"some of {','.join(SECTIONS)}; all but scenarios if left out")
    parser.add_argument("--implementations", default=None, help="only these, separated by commas")
    parser.add_argument("--patience", type=float, default=None, help=f"{PATIENCE_S:g} by default; 0 with --quick")
    parser.add_argument("--out", type=Path, default=None, help=f"{RESULTS.name} by default; nothing with --quick")
    parser.add_argument("--pfl-python", type=Path, default=Path(os.environ.get("PFL_PYTHON", PFL)))
    options = parser.parse_args()
    sections = options.only.split(",") if options.only else [name for name in SECTIONS if name != "scenarios"]
    if options.quick and not options.only:
        sections = ["W1", "W2", "W3", "scale", "startup"]
    unknown = set(sections) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown sections {sorted(unknown)}: choose from {','.join(SECTIONS)}")
    if not os.environ.get("SEMFED_DATA") and not set(sections) <= {"W3", "startup"}:
        parser.error("SEMFED_DATA is not set: it names the folder with the data sets")
    out = options.out or (None if options.quick else RESULTS)
    patience = Patience((0.0 if options.quick else PATIENCE_S) if options.patience is None else options.patience)
    commands = available(options.pfl_python)
    if options.implementations:
        commands = {name: commands[name] for name in options.implementations.split(",") if name in commands}
    before = machine()
    kept: dict[str, Any] = json.loads(out.read_text()) if out and out.exists() else {}
    raw, made_by = kept.get("raw", {}), kept.get("commands", {})
    for section in sections:
        fresh: dict[str, list[dict[str, Any]]] = {}
        for where, facts, command, memory in tasks(section, commands, options.quick):
            entry = _run(facts, command, memory, patience)
            if entry:
                fresh.setdefault(where, []).append(entry)
            raw |= fresh
            made_by |= dict.fromkeys(fresh, _command())
            result = {**summarise(raw), "machine": before, "commands": made_by, "raw": raw}
            if out:
                out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summarise(raw), indent=1))


def _run(facts: dict[str, Any], command: Sequence[str], memory: bool, patience: Patience) -> dict[str, Any] | None:
    """Measure and tell; a run that fails, a scenario without its data for example, is told and left out."""
    while True:
        before = patience.wait()
        try:
            entry = {**facts, **measure(command, memory=memory)}
        except RuntimeError as error:
            print(f"left out: {facts}: {error}", file=sys.stderr, flush=True)
            return None
        entry["cpus"] = [before, share()]
        print(json.dumps({key: value for key, value in entry.items() if key != "wall_s"}), flush=True)
        if is_quiet(entry["cpus"][1]) or patience.left <= 0:
            return entry
        patience.left -= entry["process_s"]
        print("again: the machine was not quiet at its end", flush=True)


def _command() -> str:
    return " ".join(["SEMFED_DATA=DIR", "python", "benchmarks/engines/bench.py", *sys.argv[1:]])


if __name__ == "__main__":
    main()
