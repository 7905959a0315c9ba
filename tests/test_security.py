"""Nothing that comes from elsewhere is unpickled or evaluated."""

import ast
import io
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord

from semfed.flower.arrays import mismatch

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("semfed", "clients", "strategies") for path in sorted((ROOT / folder).rglob("*.py"))]
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


class Evil:
    """Notes when it is unpickled."""

    woke = False

    def __reduce__(self) -> Any:
        return setattr, (Evil, "woke", True)


def test_no_module_unpickles_or_evaluates() -> None:
    assert SOURCES
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not FORBIDDEN_MODULES & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Call):
                called, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert called not in {"eval", "exec", "compile", "__import__"}, path
                assert called != "np.load" or keywords.get("allow_pickle") == "False", path
                assert called != "torch.load" or keywords.get("weights_only") == "True", path


def test_a_pickle_in_place_of_an_array_is_refused() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Evil()], dtype=object), allow_pickle=True)
    expected = ArrayRecord({"w": Array(np.zeros(1, np.float32))})
    disguised = Array("float32", (1,), "numpy.ndarray", buffer.getvalue())
    assert mismatch(ArrayRecord({"w": disguised}), expected) == "array 'w' is not what it says, or a pickle"
    assert mismatch(ArrayRecord({"w": Array("object", (1,), "numpy.ndarray", buffer.getvalue())}), expected)
    assert not Evil.woke
    np.load(io.BytesIO(buffer.getvalue()), allow_pickle=True)
    assert Evil.woke  # the pickle would have worked
