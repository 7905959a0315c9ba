"""What is not public in Flower is in one module, which says so where Flower's version is another."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, RecordDict
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, pull_objects
from flwr.superlink.grid import HttpGrid

from semfed.flower import arrays, compat

ROOT = Path(__file__).parents[2]
COMPAT = Path("semfed/flower/compat.py")
MODULES = sorted(
    path.relative_to(ROOT)
    for top in ("semfed", "clients", "strategies", "deployment", "benchmarks")
    for path in (ROOT / top).rglob("*.py")
    if path.relative_to(ROOT) != COMPAT
)
PUBLIC = (
    "flwr.app",
    "flwr.client",
    "flwr.clientapp",
    "flwr.clientapp.mod",
    "flwr.common",
    "flwr.serverapp",
    "flwr.serverapp.strategy",
    "flwr.simulation",
)
"""Packages of Flower's API reference."""
OWN = ("self", "cls", "other")
"""Objects whose underscored attributes are a class's own business."""
WITH_TORCH = ("run", "app", "broadcast")
"""`run` isolates what strategies compute from torch as the process has it, `app` looks at devices and data before it,
and `broadcast` draws clients from `semfed.seeding`, which has torch's generators, too."""
WITHOUT_TORCH = (
    *(path for path in MODULES if path.parent == Path("semfed/flower/server") and path.stem not in WITH_TORCH),
    COMPAT,
    *(Path(f"semfed/flower/{name}.py") for name in ("protocol", "arrays", "averaging", "bundle", "trial")),
    Path("semfed/flower/partial_sums.py"),
)
"""What the server and both sides share."""


def private_imports(tree: ast.Module) -> list[str]:
    """Imports from Flower that are no exported name of a public package."""
    found = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    private = [name for name in found if name.split(".")[0] == "flwr" and name not in PUBLIC]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "flwr":
            exported = importlib.import_module(node.module).__all__ if node.module in PUBLIC else ()  # type: ignore[arg-type]
            private += [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in exported]
    return private


def inside_looks(tree: ast.Module) -> list[str]:
    """Underscored attributes, by name or as text, of what is neither the object itself nor of another package."""
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and (node.module or "")[:4] != "flwr")
        for alias in node.names
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root: ast.expr = node
            while isinstance(root, ast.Attribute):
                root = root.value
            own = isinstance(root, ast.Name) and (root.id in imported or (node.value is root and root.id in OWN))
            if node.attr == "__dict__" or (node.attr.startswith("_") and not node.attr.endswith("__") and not own):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr"):
            found += [ast.unparse(node)] if ast.unparse(node.args[1]).startswith("'_") else []
    return found


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_only_compat_looks_into_flower(path: Path) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert not private_imports(tree)
    if any(isinstance(node, ast.ImportFrom) and (node.module or "")[:4] == "flwr" for node in ast.walk(tree)):
        assert not inside_looks(tree)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("from flwr.common.constant import ErrorCode", "flwr.common.constant.ErrorCode"),
        ("from flwr.superlink.grid import HttpGrid", "flwr.superlink.grid.HttpGrid"),
        ("from flwr.app import Metadata, message", "flwr.app.message"),
        ("import flwr.supercore.task_identity", "flwr.supercore.task_identity"),
    ],
)
def test_private_imports_are_seen(line: str, what: str) -> None:
    assert private_imports(ast.parse(line)) == [what]


@pytest.mark.parametrize(
    "line", ["message.metadata._message_id = 1", "message.__dict__.update(a=1)", "setattr(grid, '_run', 1)"]
)
def test_looks_inside_are_seen(line: str) -> None:
    assert len(inside_looks(ast.parse(line))) == 1


def test_the_servers_side_and_the_protocol_need_no_torch() -> None:
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in WITHOUT_TORCH]
    assert len(names) > 15
    check = "importlib.import_module(name)\n assert 'torch' not in sys.modules, name"
    code = f"import importlib, sys\nfor name in {names}:\n {check}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_messages_can_be_made_inside_and_get_numbers() -> None:
    with compat.task_identity():
        message = compat.number(Message(RecordDict(), 3, "train"), "message-7")
        reply = Message(RecordDict(), reply_to=message)
        assert (reply.metadata.reply_to_message_id, reply.metadata.dst_node_id) == ("message-7", compat.SERVER)
    with pytest.raises(RuntimeError, match="not set"):
        Message(RecordDict(), 3, "train")


def test_codes_are_flowers() -> None:
    assert (compat.CLIENT_RAISED, compat.NO_REPLY, compat.CLIENT_CRASHED) == (2, 4, 8)
    assert compat.is_of_dead_actor(Error(0, "ray.exceptions.ActorDiedError: ..."))
    assert not compat.is_of_dead_actor(Error(0))


@pytest.mark.parametrize(("comes_after", "calls"), [(0, 1), (3, 4)])
def test_a_deployments_grid_asks_soon_again_for_what_is_not_there_yet(
    monkeypatch: pytest.MonkeyPatch, comes_after: int, calls: int
) -> None:
    """Every wait is the short one: Flower itself would wait for about a second before it asks once more."""
    slept: list[float] = []
    monkeypatch.setattr(compat, "time", SimpleNamespace(sleep=slept.append))
    client = SuperLink(comes_after)
    compat.ask_soon_again(connected(client))
    assert pull_objects(["a"], make_pull_object_fn_protobuf(client.PullObject, Node(node_id=1), 1)) == {"a": b"data"}
    assert client.calls == calls
    assert slept == [compat.SOON_S] * comes_after


def test_what_is_never_there_is_left_to_flower() -> None:
    lost, late = SuperLink(0, found=False), SuperLink(compat.SOON)
    for client in (lost, late):
        compat.ask_soon_again(connected(client))
    with pytest.raises(ObjectPullError, match="could not be found"):
        pull_objects(["a"], make_pull_object_fn_protobuf(lost.PullObject, Node(node_id=1), 1))
    assert lost.calls == 1
    assert not late.PullObject(None).object_available
    assert late.calls == compat.SOON


class SuperLink:
    """Has an object after so many questions."""

    def __init__(self, comes_after: int, *, found: bool = True) -> None:
        self.comes_after, self.found, self.calls = comes_after, found, 0

    def PullObject(self, request: object) -> PullObjectResponse:
        self.calls += 1
        there = self.found and self.calls > self.comes_after
        return PullObjectResponse(
            object_found=self.found, object_available=there, object_content=b"data" if there else b""
        )


def connected(client: SuperLink) -> HttpGrid:
    grid = HttpGrid(token="token")
    grid._client = client  # type: ignore[assignment]
    return grid


def test_fields_that_are_set_past_flower_are_those_that_it_reads() -> None:
    ours, flowers = arrays.record({"w": np.ones((2, 3), np.float32)}), ArrayRecord({"w": Array(np.ones((2, 3), "f4"))})
    one, other = ours["w"], flowers["w"]
    assert (one.dtype, one.shape, one.stype, one.data) == (other.dtype, other.shape, other.stype, other.data)
    assert ours.count_bytes() == flowers.count_bytes()
    assert one.object_id == other.object_id
