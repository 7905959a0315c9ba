"""Make results files, and make them again with the commands that they hold.

    python benchmarks/reproduce.py RESULT ...               # again: writes the files anew
    python benchmarks/reproduce.py --check RESULT ...       # again: says which numbers differ, and writes nothing
    python benchmarks/reproduce.py --all                    # every result under scenarios/ that holds a command
    python benchmarks/reproduce.py --about TEXT RESULT -- semfed run SCENARIO [OPTION ...]      # a new one

``make reproduce RESULT=...`` and ``make reproduce RESULT=... CHECK=1`` do the first two. A result is a JSON file in a
folder ``results``; `semfed.runs.results` says what it holds. Results of ``semfed run`` are made from its run
folder; other commands are scripts that write their file themselves. Real data are found by SEMFED_DATA.

With ``--reference ARM`` the others are compared with that arm, ``--round N`` keeps the figures of a further round, and
``--figure STEM`` copies that picture of the run beside the file; a file remembers what it was asked for.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from semfed.report import drawing
from semfed.runs.recorder import PACKAGES
from semfed.runs.results import condense, deviations

ROOT = Path(__file__).parents[1]
SHOWN = 40
"""Differences that a check prints."""


def made_with() -> dict[str, Any]:
    """Return commit, versions and CPU capability of this place; ``-dirty`` where what runs differs from the commit."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "semfed", "clients", "strategies", "scenarios/*/scenario.toml")
    return {
        "commit": git("rev-parse", "HEAD") + ("-dirty" if changed else ""),
        "packages": {package: version(package) for package in (*PACKAGES, "scipy")},
        "python": platform.python_version(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def words(command: str) -> list[str]:
    """Split a command; DIR in it stands for the data, which the environment tells."""
    given = shlex.split(command)
    while "--data-root" in given:
        index = given.index("--data-root")
        del given[index : index + 2]
    while given and "=" in given[0] and given[0].split("=")[0].isupper():
        del given[0]
    return given


def make(file: Path, recipe: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Run a command and return what belongs into the file, and figures by the names of theirs.

    Raises
    ------
    SystemExit
        If the command fails, did not write the file that is its own to write, or draws no such figure.
    """
    command = words(recipe["command"])
    if command[:2] != ["semfed", "run"]:
        before = file.stat().st_mtime_ns if file.is_file() else None
        _run([sys.executable, *command[1:]], file)
        if not file.is_file() or file.stat().st_mtime_ns == before:
            raise SystemExit(f"{file}: its command did not write it: {recipe['command']}")
        return {**json.loads(file.read_text()), **made_with()}, {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        _run([sys.executable, "-m", "semfed.cli", *command[1:], "--out", str(folder)], file)
        drawn = {picture.stem: picture for picture in drawing.draw(folder)} if recipe["figures"] else {}
        missing = [stem for stem in recipe["figures"] if stem not in drawn]
        if missing:
            raise SystemExit(f"{file}: the run has no figure {missing[0]!r}, only {sorted(drawn)}")
        figures = {name: drawn[stem].read_bytes() for stem, name in recipe["figures"].items()}
        return {"name": file.stem, **condense(folder, recipe), **made_with()}, figures


def _run(line: Sequence[str], file: Path) -> None:
    if subprocess.run(line, cwd=ROOT, check=False).returncode:
        raise SystemExit(f"{file}: its command failed: {shlex.join(line)}")


def check(file: Path, recipe: dict[str, Any]) -> bool:
    """Make a result again, leave the file as it is, and print what differs; say whether nothing does."""
    committed = file.read_bytes()
    try:
        differing = list(deviations(json.loads(committed), make(file, recipe)[0]))
    finally:
        file.write_bytes(committed)
    print(f"{file}: {len(differing)} entries differ" if differing else f"{file}: the same numbers")
    print("".join(f"  {line}\n" for line in differing[:SHOWN]), end="")
    return not differing


def recipe_of(file: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Join what the file asks for with what the command line does; figures are called after the file."""
    known = json.loads(file.read_text()) if file.is_file() else {}
    command = shlex.join(given.command) if given.command else known.get("command")
    if not command:
        raise SystemExit(
            f"{file}: it holds no command, so it cannot be made again; give one: --about TEXT {file} -- semfed run ..."
        )
    if not (given.about or known.get("description")):
        raise SystemExit(f"{file}: say in a sentence what it is: --about TEXT")
    figures = {stem: f"{file.stem}-{stem}.png" for stem in given.figure}
    return {
        "description": given.about or known["description"],
        "command": command,
        "reference": given.reference or known.get("reference"),
        "at_rounds": sorted({*given.round, *known.get("at_rounds", [])}),
        "figures": known.get("figures", {}) | figures,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the module's text says."""
    line = list(sys.argv[1:] if arguments is None else arguments)
    cut = line.index("--") if "--" in line else len(line)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULT")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--about", help="one sentence")
    parser.add_argument("--reference", metavar="ARM")
    parser.add_argument("--round", type=int, action="append", default=[], metavar="N")
    parser.add_argument("--figure", action="append", default=[], metavar="STEM")
    given = parser.parse_args(line[:cut])
    given.command = line[cut + 1 :]
    files = [path.resolve() for path in given.results]
    if given.all:
        files = [f for f in sorted(ROOT.glob("scenarios/*/results/*.json")) if json.loads(f.read_text()).get("command")]
    if not files or (given.command and len(files) > 1):
        raise SystemExit("name one results file with a command, or any number that hold theirs, or --all")
    same = True
    for file in files:
        recipe = recipe_of(file, given)
        if given.check:
            if not file.is_file():
                raise SystemExit(f"{file}: there is nothing to check")
            same = check(file, recipe) and same
            continue
        result, figures = make(file, recipe)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result, indent=1) + "\n")
        for name, picture in figures.items():
            file.with_name(name).write_bytes(picture)
        print(os.path.relpath(file))
    raise SystemExit(0 if same else 1)


if __name__ == "__main__":
    main()
