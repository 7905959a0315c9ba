"""The house keeps its shape: what imports what, and every example in a docstring is true."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path.relative_to(ROOT) for top in ("semfed", "clients", "strategies") for path in (ROOT / top).rglob("*.py")
)
FLOWER_MAY = ("semfed/flower/", "semfed/engine/", "clients/", "strategies/")
LAYERS = [
    ("semfed/cli.py", "semfed/__main__.py"),
    ("semfed/trial/",),
    ("semfed/engine/",),
    ("semfed/flower/",),
]


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_stay_where_they_belong(path: Path) -> None:
    used = imports(path)
    if not str(path).startswith(FLOWER_MAY):
        assert not any(name.split(".")[0] == "flwr" for name in used), "flwr is imported outside its places"
    if path.name not in ("ray.py", "ray_cluster.py"):
        assert not any(name.split(".")[0] == "ray" for name in used), "ray belongs to engine/ray.py and ray_cluster.py"
    if str(path).startswith("semfed/"):
        outside = [
            name for name in used if name.startswith(("semfed.clients", "semfed.strategies", "semfed.scenarios"))
        ]
        assert not outside, "semfed finds clients and strategies by entry point"


@pytest.mark.parametrize("path", [p for p in MODULES if str(p).startswith("semfed/")], ids=str)
def test_imports_run_downward(path: Path) -> None:
    level = next((k for k, places in enumerate(LAYERS) if str(path).startswith(places)), len(LAYERS))
    above = [
        place.removesuffix("/").removesuffix(".py").replace("/", ".") for places in LAYERS[:level] for place in places
    ]
    if path != Path("semfed/__init__.py"):
        assert not [name for name in imports(path) if name.startswith(tuple(above))]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_modules_are_small(path: Path) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= 450


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_examples_in_docstrings_are_true(path: Path) -> None:
    dotted = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(dotted if dotted.startswith("semfed") else f"semfed.{dotted}")
    assert doctest.testmod(module).failed == 0
