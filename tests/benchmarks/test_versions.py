"""What is declared is what was tried: versions of Python, lowest versions, the range of Flower, exact versions."""

import importlib.util
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = {one.name: one for one in map(Requirement, PROJECT["dependencies"])}


def minimum(one: Requirement) -> str:
    """Return the lowest version that is declared."""
    (lowest,) = (part.version for part in one.specifier if part.operator in (">=", "=="))
    return lowest


@pytest.fixture(scope="module")
def versions() -> Any:
    spec = importlib.util.spec_from_file_location("versions", ROOT / "benchmarks" / "versions.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["versions"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record(versions: Any) -> dict[str, Any]:
    return dict(json.loads(versions.RECORD.read_text()))


def test_every_leg_was_tried_and_every_python_has_one(versions: Any, record: dict[str, Any]) -> None:
    assert sorted(record) == sorted(leg.name for leg in versions.LEGS)
    assert all(leg["passed"] > 400 for leg in record.values())
    promised = {name.rpartition(" ")[2] for name in PROJECT["classifiers"] if "Python :: 3." in name}
    assert {leg.python for leg in versions.LEGS} == promised
    assert PROJECT["requires-python"] == f">={min(promised, key=Version)}"
    for name in DECLARED:
        assert all(DECLARED[name].specifier.contains(leg["packages"][name]) for leg in record.values()), name


def test_the_lowest_versions_are_those_that_are_declared(record: dict[str, Any]) -> None:
    tried = record["lowest-3.11"]["packages"]
    assert {name: Version(tried[name]) for name in DECLARED} == {
        name: Version(minimum(one)) for name, one in DECLARED.items()
    }


def test_flowers_range_ends_behind_the_latest_that_was_tried(record: dict[str, Any]) -> None:
    latest = max(Version(leg["packages"]["flwr"]) for leg in record.values())
    assert f"<{latest.major}.{latest.minor + 1}" in str(DECLARED["flwr"].specifier)
    assert {Version(leg["packages"]["flwr"]).minor for leg in record.values()} == {41, 42}


def test_exact_versions_are_those_of_results(versions: Any, record: dict[str, Any]) -> None:
    lines = [line for line in versions.CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]
    exact = dict(line.split("==") for line in lines)
    assert {name: exact[name] for name in DECLARED} == record["exact-3.11"]["packages"]
    noted = ("torch", "flwr", "ray", "numpy")
    made = [json.loads(path.read_text()).get("packages", {}) for path in ROOT.glob("scenarios/*/results/*.json")]
    assert {name: exact[name] for name in noted} in [{name: one.get(name) for name in noted} for one in made]
