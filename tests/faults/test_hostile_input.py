"""Nothing that is read or received is ever unpickled."""

import ast
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array

from semfed.algorithms.alignment.latents.files import read_latents
from semfed.errors import DataError

ROOT = Path(__file__).parents[2]


class Bomb:
    """Unpickling it leaves a folder behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["latents.npz", "latents.safetensors", "latents.pkl"])
def test_a_pickle_in_place_of_latents_is_refused(name: str, tmp_path: Path) -> None:
    fired, path = tmp_path / "fired", tmp_path / name
    path.write_bytes(pickle.dumps(Bomb(fired)))
    with pytest.raises(DataError, match="latents cannot be read|are read from .npz and .safetensors files only"):
        read_latents(path, 10)
    assert not fired.exists()


def test_objects_inside_an_archive_of_latents_are_refused(tmp_path: Path) -> None:
    fired, path = tmp_path / "fired", tmp_path / "latents.npz"
    np.savez(path, train=np.array([Bomb(fired)], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="latents cannot be read .*allow_pickle=False"):
        read_latents(path, 10)
    assert not fired.exists()


def test_a_pickle_in_place_of_an_array_is_refused(tmp_path: Path) -> None:
    """A message's array travels as NumPy's own format; Flower reads it without unpickling."""
    fired, data = tmp_path / "fired", io.BytesIO()
    np.save(data, np.array([Bomb(fired)], dtype=object), allow_pickle=True)
    for content in (data.getvalue(), pickle.dumps(Bomb(fired))):
        with pytest.raises(ValueError, match="allow_pickle"):
            Array(dtype="float32", shape=(1,), stype="numpy.ndarray", data=content).numpy()
    assert not fired.exists()


@pytest.mark.parametrize("folder", ["semfed", "clients", "strategies"])
def test_the_source_unpickles_and_evaluates_nothing(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                assert not {"pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"} & set(names), path
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "compile"), path
                options = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert options.get("allow_pickle", "False") == "False", path
                assert called != "torch.load" or options.get("weights_only") == "True", path
