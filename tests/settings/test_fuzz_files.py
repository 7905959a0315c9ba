"""Whatever lies in data files and run folders, it is read or one sentence names it: never a traceback."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save

import semfed
from semfed.algorithms.alignment.latents.files import read_latents
from semfed.data import listing
from semfed.data.imagefolder import ImageFolder
from semfed.report import plots

from .test_fuzz import amount, explore, outcome, told

DTYPES = ["float32", "float64", "float16", "int64", "uint8", "uint64", "bool", "complex64", "U3", "M8[s]", ">f4", "V4"]
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 60), st.binary(max_size=8)), max_size=3)
NAMES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8),
    st.sampled_from(["0.png", "1.JPG", ".hidden.png", "x.tif", "README", "a.gif", "b.webp", "-.bmp"]),
).filter(lambda name: name not in (".", ".."))


def edited(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Put other bytes in place of some; an edit near the end cuts a file off."""
    for place, length, piece in edits:
        start = int(place * len(data))
        data = data[:start] + piece + data[start + length :]
    return data


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    shape = draw(st.lists(st.integers(0, 6), max_size=3))
    values = draw(st.lists(st.integers(-2, 12) | st.floats(), min_size=1, max_size=4))
    with np.errstate(all="ignore"):
        try:
            return np.resize(np.array(values), shape).astype(draw(st.sampled_from(DTYPES)))
        except (ValueError, OverflowError):
            return np.zeros(shape, dtype=object)


@amount(40, 1000)
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_latents(examples: int, tmp_path: Path, suffix: str) -> None:
    good = {"train": np.ones((6, 4), np.float32), "test": np.ones((5, 4), np.float32),
            "train_labels": np.arange(6) % 3, "test_labels": np.arange(5) % 3}  # fmt: skip
    path = tmp_path / f"latents{suffix}"

    def written(content: dict[str, Any]) -> bytes:
        if suffix == ".safetensors":
            return save({name: array for name, array in content.items() if array.dtype.kind in "fiu"})
        file = io.BytesIO()
        np.savez(file, **content)  # type: ignore[arg-type]
        return file.getvalue()

    @given(st.dictionaries(st.sampled_from([*good, "other"]), arrays(), max_size=2), EDITS)
    def check(changes: dict[str, Any], edits: list[tuple[float, int, bytes]]) -> None:
        path.write_bytes(edited(written(good | changes), edits))
        found = outcome(lambda: read_latents(path, 3))
        if found is not None:
            assert all(bool(found[name].isfinite().all()) for name in ("train", "test"))
            assert {int(label) for label in found["train_labels"]} <= {0, 1, 2}

    explore(check, examples)


def picture(mode: str, size: tuple[int, int], kind: str) -> bytes:
    """Encode a picture, or return what no encoder would write."""
    file = io.BytesIO()
    try:
        Image.new(mode, size, 1).save(file, format=kind)
    except (OSError, ValueError, TypeError):
        file.write(b"nothing")
    return file.getvalue()


@amount(25, 600)
def test_any_image_folder(examples: int, tmp_path: Path) -> None:
    modes = st.sampled_from(["RGB", "RGB", "L", "RGBA", "P", "1", "I", "I;16", "F", "CMYK", "LA"])
    sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
    kinds = st.sampled_from(["PNG", "PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP"])
    files = st.tuples(NAMES, st.builds(picture, modes, sizes, kinds), st.just([]) | EDITS)
    folders = st.dictionaries(NAMES | st.sampled_from(["train", "test"]), st.lists(files, max_size=4), max_size=3)
    options = st.fixed_dictionaries(
        {"size": st.integers(1, 9)},
        optional={"nested": st.booleans(), "grayscale": st.booleans(), "depth": st.just("reduce"),
                  "background": st.integers(0, 255), "test_fraction": st.sampled_from([0.2, 0.5])},
    )  # fmt: skip

    @given(folders, options, st.booleans())
    def check(content: dict[str, Any], settings: dict[str, Any], inside: bool) -> None:
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        for label, members in (content | {"a": [("0.png", picture("RGB", (4, 4), "PNG"), [])] * 1}).items():
            for name, data, edits in members:
                place = tmp_path / "data" / label / ("inner" if inside else ".")
                place.mkdir(parents=True, exist_ok=True)
                if not (place / name).is_dir():
                    (place / name).write_bytes(edited(data, edits))
        source = ImageFolder(ImageFolder.Settings(folder="data", **settings))
        outcome(lambda: listing.table(tmp_path / "data"))
        outcome(lambda: source.read(tmp_path, download=False))

    explore(check, examples)


@amount(6, 60)
def test_any_run_folder(examples: int, tmp_path: Path) -> None:
    """A run folder that something has damaged is drawn, resumed, or refused."""
    changes = {"rounds": 1, "training": {"epochs": 1}}
    done = semfed.run("digits", seeds=[0], arms=["individual"], overrides=changes, out=tmp_path / "run")
    names = sorted(str(path.relative_to(done.folder)) for path in done.folder.rglob("*") if path.is_file())
    left = shutil.copytree(done.folder, tmp_path / "left", ignore=shutil.ignore_patterns("plots"))
    texts = [name for name in names if not name.startswith("plots")]

    @given(st.sampled_from(texts), EDITS | st.none())
    def check(name: str, edits: Any) -> None:
        broken = shutil.copytree(left, tmp_path / "broken", dirs_exist_ok=True)
        if edits is None:
            (broken / name).unlink()
        else:
            (broken / name).write_bytes(edited((broken / name).read_bytes(), edits))
        outcome(lambda: plots.figures(broken))
        told(["run", "--resume", str(broken)])
        shutil.rmtree(broken)

    explore(check, examples)
