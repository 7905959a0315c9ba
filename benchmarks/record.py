"""Run a scenario and keep its final figures in a small JSON file that names the command.

    SEMFED_DATA=DIR python benchmarks/record.py FILE        # again, with the command that FILE names
    SEMFED_DATA=DIR python benchmarks/record.py --about TEXT FILE semfed run SCENARIO [OPTION ...]

FILE is a ``scenarios/<name>/results/<what>.json``. Figures are mean and standard deviation over seeds in the last
round; ``--figure STEM`` copies that picture of the run beside FILE, with FILE's name before its own.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def spread(entry: dict[str, Any]) -> dict[str, Any]:
    """Round mean and standard deviation over seeds to what an accuracy over 10,000 images can tell."""
    return {key: None if entry[key] is None else round(entry[key], 5) for key in ("mean", "sd")}


def condense(file: Path, description: str, command: str, folder: Path) -> dict[str, Any]:
    """Return the content of a results file from a run folder."""
    summary = json.loads((folder / "summary.json").read_text())
    if not summary["complete"]:
        raise SystemExit(f"the run ended early: {summary['error']}")
    records = [json.loads(line) for line in (folder / "outcomes.jsonl").read_text().splitlines()]
    return {
        "name": file.stem,
        "description": description,
        "command": command,
        "packages": json.loads((folder / "environment.json").read_text())["packages"],
        "seeds": sorted({record["seed"] for record in records}),
        "baselines": {name: round(value, 5) for name, value in summary["baselines"].items()},
        "numbers": {
            arm: {
                metric: spread(entry)
                for metric, entry in sorted(found["final"].items())
                if not metric.startswith(("loss/", "train_loss/", "cost/bytes"))
            }
            for arm, found in summary["arms"].items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--about", help="one sentence; kept if the file is there")
    parser.add_argument("--figure", action="append", default=[], metavar="STEM")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="semfed run ...")
    options = parser.parse_args()
    known = json.loads(options.file.read_text()) if options.file.is_file() else {}
    command = options.command or shlex.split(known["command"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        subprocess.run([sys.executable, "-m", "semfed.cli", *command[1:], "--out", str(folder)], check=True)
        result = condense(options.file, options.about or known["description"], shlex.join(command), folder)
        options.file.parent.mkdir(exist_ok=True)
        options.file.write_text(json.dumps(result, indent=1) + "\n")
        for stem in options.figure:
            target = options.file.with_name(f"{options.file.stem}-{stem}.png")
            target.write_bytes((folder / "plots" / f"{stem}.png").read_bytes())
    print(options.file)


if __name__ == "__main__":
    main()
