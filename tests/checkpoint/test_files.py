import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from semfed.checkpoint import files
from semfed.errors import CheckpointError

DTYPES = st.sampled_from(["float32", "float64", "int64", "uint8", "bool", "complex64", "complex128"])
ARRAYS = DTYPES.flatmap(lambda dtype: arrays(np.dtype(dtype), array_shapes(min_dims=0, max_dims=3, max_side=3)))
TABLES = st.dictionaries(st.text(max_size=5), st.dictionaries(st.text(max_size=5), ARRAYS, max_size=3), max_size=3)


@given(TABLES)
def test_tables_come_back_in_order_and_bit_for_bit(tables: files.Tables) -> None:
    again = files.parse(files.dump(tables), "it")
    assert [(table, list(named)) for table, named in again.items()] == [(t, list(named)) for t, named in tables.items()]
    for table, named in tables.items():
        for name, array in named.items():
            other = again[table][name]
            assert (other.dtype, other.shape, other.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_equal_tables_are_equal_bytes() -> None:
    tables = {"b": {"y": np.ones(2)}, "a": {"x": np.zeros((), np.int64)}}
    assert files.dump(tables) == files.dump({t: {n: a.copy() for n, a in named.items()} for t, named in tables.items()})


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="it cannot be read|it has version"):
        files.parse(data, "it")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write(path, b"old")

    def full(descriptor: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_must_have_its_hash(tmp_path: Path) -> None:
    data = files.dump({"a": {"x": np.ones(3)}})
    (tmp_path / "file").write_bytes(data)
    assert files.read(tmp_path / "file", files.digest(data))["a"]["x"].tolist() == [1, 1, 1]
    with pytest.raises(CheckpointError, match="is damaged: its SHA-256"):
        files.read(tmp_path / "file", files.digest(b""))
