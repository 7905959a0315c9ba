"""Try the versions that ``pyproject.toml`` declares: an environment of its own and a short suite a leg.

``python benchmarks/versions.py [LEG ...]`` builds ``build/versions/LEG``, runs the suite there, and notes in
``benchmarks/versions.json`` what was installed and how many tests passed. ``uv`` (it comes with Flower) finds the
interpreters; with pyenv, ``PYENV_VERSION=3.11:3.12:3.13`` shows it several.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
RECORD, CONSTRAINTS = ROOT / "benchmarks" / "versions.json", ROOT / "constraints.txt"
SUITE = (
    "tests/scenario", "tests/channels", "tests/models", "tests/flower", "tests/strategies",
    "tests/runs/test_cli.py", "tests/runs/test_api.py",
    "tests/engine/ray/test_grid.py::test_any_number_of_workers_gives_the_same_numbers",
    "tests/engine/ray/test_grid.py::test_other_systems_give_the_same_numbers",
    "tests/engine/test_flower_simulation.py::test_the_same_numbers_as_in_process",
)  # fmt: skip


@dataclass(frozen=True)
class Leg:
    """An interpreter, and how the versions of the dependencies are chosen for it."""

    choice: str
    python: str

    @property
    def name(self) -> str:
        return f"{self.choice}-{self.python}"

    @property
    def how(self) -> list[str]:
        """Options of ``uv pip install``; the latest versions need none."""
        return {"lowest": ["--resolution", "lowest-direct"], "exact": ["--constraint", str(CONSTRAINTS)]}.get(
            self.choice, []
        )


LEGS = (
    Leg("lowest", "3.11"),
    Leg("exact", "3.11"),
    Leg("latest", "3.11"),
    Leg("latest", "3.12"),
    Leg("latest", "3.13"),
)


def declared() -> list[Requirement]:
    """Return the dependencies of ``pyproject.toml``."""
    return [
        Requirement(text) for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ]


def build(leg: Leg, folder: Path) -> Path:
    """Make the leg's environment anew and return its interpreter."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise SystemExit("uv is missing: it comes with Flower, so run this with the interpreter of `make install`")
    python = folder / "bin" / "python"
    environment = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
    for words in (
        ["venv", "--quiet", "--clear", "--python", leg.python, str(folder)],
        ["pip", "install", "--quiet", "--python", str(python), *leg.how, "--editable", f"{ROOT}[dev]"],
    ):
        subprocess.run([uv, *words], check=True, env=environment)
    return python


def installed(python: Path) -> dict[str, str]:
    """Return the versions of the dependencies in an environment."""
    names = [one.name for one in declared()]
    code = f"import json; from importlib.metadata import version; print(json.dumps({{n: version(n) for n in {names}}}))"
    found: dict[str, str] = json.loads(subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE).stdout)
    return found


def try_out(leg: Leg, folder: Path, *, engines: bool) -> dict[str, Any] | None:
    """Build a leg and run the suite there; return what to note, None if a test fails."""
    python = build(leg, folder)
    marks = "not slow and not long" + ("" if engines else " and not flower")
    suite = [python, "-m", "pytest", "-m", marks, "-p", "no:cacheprovider", *SUITE]
    done = subprocess.run(suite, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    passed = re.search(r"(\d+) passed", done.stdout)
    if done.returncode or passed is None:
        return None
    return {"python": leg.python, "passed": int(passed[1]), "engines": engines, "packages": installed(python)}


def main() -> int:
    """Try the legs that are asked for; return how many failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("legs", nargs="*", metavar="LEG", help=f"all by default: {' '.join(leg.name for leg in LEGS)}")
    parser.add_argument(
        "--without-engines", action="store_true", help="leave out what starts Ray or Flower's processes"
    )
    options = parser.parse_args()
    asked = options.legs
    chosen = [leg for leg in LEGS if not asked or leg.name in asked]
    if not chosen:
        parser.error(f"no such leg: {asked}")
    failed = 0
    for leg in chosen:
        print(f"--- {leg.name}", flush=True)
        noted = try_out(leg, ROOT / "build" / "versions" / leg.name, engines=not options.without_engines)
        failed += noted is None
        if noted is not None:
            record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
            RECORD.write_text(json.dumps({**record, leg.name: noted}, indent=2, sort_keys=True) + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
