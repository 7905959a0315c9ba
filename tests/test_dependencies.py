"""What is imported is declared: by the package, by an extra, or by a dependency that brings it along in one version."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
TOPS = ("semfed", "clients", "strategies", "scenarios", "deployment")
COMES_WITH = {
    "pydantic-core": "pydantic",  # which wants one version and no other
    "click": "typer",  # whose own interface it is; ranges of Flower and of extras leave few versions
    "cryptography": "flwr",  # deployment makes keys with Flower's own version
    "pyyaml": "flwr",
    "jinja2": "torch",
    "markupsafe": "jinja2",
    "markdown-it-py": "rich",
    "pillow": "torchvision",
    "threadpoolctl": "scikit-learn",
}
IF_PRESENT = {"IPython"}
"""Packages that are used where the process is theirs: a notebook's kernel."""


def named(text: str) -> str:
    """Return the name of a requirement as indexes compare them."""
    return re.sub(r"[-_.]+", "-", Requirement(text).name).lower()


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = set(map(named, PROJECT["dependencies"]))
EXTRAS = {named(text) for extra in PROJECT["optional-dependencies"].values() for text in extra}


def imported() -> dict[str, set[str]]:
    """Return the packages that modules import, and where: those of others, without the standard library's."""
    found: dict[str, set[str]] = {}
    own = {"semfed", *TOPS}
    for path in (path for top in TOPS for path in (ROOT / top).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for package in {name.partition(".")[0] for name in names} - own - sys.stdlib_module_names:
                found.setdefault(package, set()).add(str(path.relative_to(ROOT)))
    return found


@pytest.mark.parametrize(("package", "places"), sorted(imported().items()))
def test_every_package_is_declared(package: str, places: set[str]) -> None:
    if package in IF_PRESENT:
        return
    brought = set(map(named, packages_distributions().get(package, ())))
    if not brought:
        pytest.skip(f"{package} is not installed, so that nobody can say what brings it")
    known = (
        DECLARED | EXTRAS | {name for name, carrier in COMES_WITH.items() if carrier in DECLARED | COMES_WITH.keys()}
    )
    assert brought & known, f"{', '.join(sorted(places))}: declare {' or '.join(sorted(brought))} in pyproject.toml"


@pytest.mark.parametrize(("name", "carrier"), sorted(COMES_WITH.items()))
def test_what_comes_along_does(name: str, carrier: str) -> None:
    assert name not in DECLARED
    assert name in {named(text) for text in requires(carrier) or () if "extra ==" not in text}
