"""The house keeps its shape: what imports what, and every example in a docstring is true."""

import ast
import doctest
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path.relative_to(ROOT) for top in ("semfed", "clients", "strategies") for path in (ROOT / top).rglob("*.py")
)
FLOWER_MAY = ("semfed/flower/", "semfed/engine/", "semfed/testing/", "clients/", "strategies/")
FLOORS = (
    ("errors", "seeding"),
    ("checkpoint", "events", "scenario"),
    ("channels", "data", "models"),
    ("algorithms", "training"),
    ("flower",),
    ("engine",),
    ("runs",),
    ("report", "testing"),
    ("cli", "__main__"),
)
"""What stands on what: a module imports from its own room, from rooms of its floor, and from the floors below."""


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
    for package, room in (("ray", "semfed/engine/ray/"), ("matplotlib", "semfed/report/")):
        if not str(path).startswith(room):
            assert not any(name.split(".")[0] == package for name in used), f"{package} belongs to {room}"
    if str(path).startswith("semfed/"):
        outside = [
            name for name in used if name.startswith(("semfed.clients", "semfed.strategies", "semfed.scenarios"))
        ]
        assert not outside, "semfed finds clients and strategies by entry point"


def floor(room: str) -> int:
    return next(height for height, rooms in enumerate(FLOORS) if room in rooms)


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[0] == "semfed"], ids=str)
def test_imports_run_downward(path: Path) -> None:
    if path == Path("semfed/__init__.py"):
        return
    own = path.parts[1].removesuffix(".py")
    used = {name.split(".")[1] for name in imports(path) if name.startswith("semfed.")}
    rooms = {room for floor_ in FLOORS for room in floor_}
    assert not [room for room in used & rooms if floor(room) > floor(own)]


def test_rooms_of_one_floor_do_not_import_each_other_in_a_circle() -> None:
    arrows = {
        (path.parts[1].removesuffix(".py"), name.split(".")[1])
        for path in MODULES
        if path.parts[0] == "semfed" and path != Path("semfed/__init__.py")
        for name in imports(path)
        if name.startswith("semfed.")
    }
    assert not [(one, other) for one, other in arrows if one < other and (other, one) in arrows]


def test_the_listing_shows_the_house() -> None:
    rooms = {path.parts[1].removesuffix(".py") for path in MODULES if path.parts[0] == "semfed"}
    assert rooms - {"__init__"} == {room for floor_ in FLOORS for room in floor_}


def test_the_halves_of_the_border_do_not_import_each_other() -> None:
    halves = {half: [p for p in MODULES if p.match(f"semfed/flower/{half}/*.py")] for half in ("client", "server")}
    for half, other in (("client", "server"), ("server", "client")):
        assert halves[half]
        assert not [p for p in halves[half] for name in imports(p) if name.startswith(f"semfed.flower.{other}")]


def test_modules_are_small() -> None:
    sizes = sorted(len((ROOT / path).read_text().splitlines()) for path in MODULES)
    assert sizes[-1] <= 450
    assert sizes[len(sizes) // 2] < 200


def top_names(tree: ast.Module) -> set[str]:
    """Names that a module defines for others; what is registered by a decorator, such as commands, is used by that."""
    defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.decorator_list}
    targets = [t for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
    targets += [n.target for n in tree.body if isinstance(n, ast.AnnAssign)]
    return {name for name in defined | {ast.unparse(t) for t in targets} if name.isidentifier() and name[:1] != "_"}


def test_every_exported_name_is_used() -> None:
    """In another module, in its own beside its definition, by a plugin's entry point, or by tests and benchmarks."""
    texts = [path for top in ("tests", "benchmarks", "deployment") for path in (ROOT / top).rglob("*.py")]
    words = {path: Counter(re.findall(r"\w+", path.read_text())) for path in (*texts, ROOT / "pyproject.toml")}
    words |= {ROOT / path: Counter(re.findall(r"\w+", (ROOT / path).read_text())) for path in MODULES}
    everywhere = sum(words.values(), Counter[str]())
    unused = [
        f"{path}: {name}"
        for path in MODULES
        for name in top_names(ast.parse((ROOT / path).read_text()))
        if everywhere[name] < 2
    ]
    assert not unused


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_examples_in_docstrings_are_true(path: Path) -> None:
    dotted = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(dotted if dotted.startswith("semfed") else f"semfed.{dotted}")
    assert doctest.testmod(module).failed == 0
