"""Folders as people have them: what is read, what is refused, and what the list of it says."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from semfed.cli import app
from semfed.data import cache, listing
from semfed.data.dataset import Dataset, standardise
from semfed.data.imagefolder import ImageFolder, read_folder
from semfed.data.source import Decoded
from semfed.errors import DataError, ScenarioError
from semfed.scenario import overrides, plugins

LEVELS = {"dry": 60, "full": 120, "wet": 190}


def fill(folder: Path, count: int, level: int = 100, mode: str = "RGB") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        Image.new(mode, (6, 6), level if mode == "L" else (level,) * 3).save(folder / f"{k:03}.png")


@pytest.fixture
def lakes(tmp_path: Path) -> Path:
    for name, level in LEVELS.items():
        fill(tmp_path / "lakes" / name, 5, level)
    return tmp_path / "lakes"


def opened(root: Path, **table: Any) -> Dataset:
    choice = plugins.parse("datasets", {"name": "imagefolder", "size": 6, **table})
    return cache.open_dataset(choice.make(), choice.name, root, folder=root.parent / "cache")


def test_sixteen_bits_keep_their_levels_where_that_is_asked_for(tmp_path: Path) -> None:
    """The mean of every class is the one that was drawn, and not one of two levels."""
    generator = np.random.default_rng(0)
    drawn: dict[str, list[np.ndarray]] = {}
    for name, level in LEVELS.items():
        (tmp_path / "lakes" / name).mkdir(parents=True)
        for k in range(10):
            grey = np.clip(generator.normal(level, 20, (6, 6)), 2, 255).astype(np.uint16)
            drawn.setdefault(name, []).append(grey)
            Image.fromarray(grey * 257).save(tmp_path / "lakes" / name / f"{k}.png")
    with pytest.raises(DataError, match=r"0.png' has 16 bits a value.* set data.source.depth to 'reduce'"):
        opened(tmp_path / "lakes")
    with pytest.raises(DataError, match="16 bits"):
        read_folder(tmp_path / "lakes", size=6)
    data = opened(tmp_path / "lakes", depth="reduce")
    for label, name in enumerate(LEVELS):
        images = data.train.images[data.train.labels == label]
        kept = [grey for k, grey in enumerate(drawn[name]) if k not in (4, 9)]  # every fifth is for the test
        assert np.array_equal(images.numpy(), np.stack([np.stack([grey] * 3) for grey in kept]))


def test_hidden_folders_are_no_classes(lakes: Path) -> None:
    fill(lakes / ".ipynb_checkpoints", 3)
    fill(lakes / "dry" / ".thumbnails", 3)
    (lakes / "dry" / "._000.png").write_bytes(b"resource fork")
    data = opened(lakes)
    assert data.classes == tuple(LEVELS)
    assert len(data.train) + len(data.test) == 15
    found = {path.name: reason for path, reason in listing.scan(lakes).left_out.items()}
    assert found == dict.fromkeys([".ipynb_checkpoints", ".thumbnails", "._000.png"], "hidden")


def test_nested_images_are_refused_read_or_left_out(lakes: Path) -> None:
    fill(lakes / "dry" / "2021" / "may", 5, 61)
    with pytest.raises(DataError, match=r"2021/may/000.png'.* and 2 more lie in subfolders.* data.source.nested"):
        opened(lakes)
    for nested, count in ((True, 20), (False, 15)):
        data = opened(lakes, nested=nested)
        assert len(data.train) + len(data.test) == count
    assert (opened(lakes, nested=True).train.images == 61).any()


def test_classes_of_one_part_only_are_named(lakes: Path, tmp_path: Path) -> None:
    root = tmp_path / "divided"
    shutil.copytree(lakes, root / "train")
    shutil.copytree(lakes, root / "test")
    assert opened(root).classes == tuple(LEVELS)
    for part, other in (("test", "train"), ("train", "test")):
        fill(root / part / "icy", 2)
        with pytest.raises(DataError, match=rf"class 'icy' is in '.*{part}' but not in '.*{other}'"):
            opened(root)
        shutil.rmtree(root / part / "icy")
    fill(root / "val" / "dry", 2)
    with pytest.raises(DataError, match=r"val': neither train nor test"):
        opened(root)


@pytest.mark.parametrize(
    ("where", "message"),
    [("dry/x.ppm", "of a format that is not read"), ("x.png", "not in a class folder")],
)
def test_no_image_is_left_out_in_silence(lakes: Path, where: str, message: str) -> None:
    (lakes / "notes.txt").write_text("harmless")
    (lakes / "dry" / "Thumbs.db").write_text("harmless")
    opened(lakes)
    Image.new("RGB", (6, 6)).save(lakes / where)
    with pytest.raises(DataError, match=rf"{Path(where).name}': {message}"):
        opened(lakes)


def test_grey_and_coloured_images_together_are_asked_about(lakes: Path) -> None:
    fill(lakes / "full", 3, 120, mode="L")
    with pytest.raises(DataError, match=r"full/000.png' is grey and '.*dry/000.png' is not: set data.source.grayscale"):
        opened(lakes)
    assert opened(lakes, grayscale=True).shape == (1, 6, 6)
    assert opened(lakes, grayscale=False).shape == (3, 6, 6)
    for name, level in LEVELS.items():
        fill(lakes / name, 5, level, mode="L")
    data = opened(lakes)
    assert data.shape == (3, 6, 6), "all of them grey: three equal channels, as always"
    assert set(data.train.images.unique().tolist()) == set(LEVELS.values())


def test_what_lies_behind_a_link_does_not_go_stale(lakes: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.move(lakes / "dry", store / "a")
    (lakes / "dry").symlink_to(store / "a")

    def look() -> tuple[int, float]:
        data = opened(lakes)
        dry = data.train.images[data.train.labels == 0].float()
        return len(data.train), float(dry.mean())

    assert look() == (12, 60)
    fill(store / "a", 10, 250)
    assert look() == (16, 250)
    shutil.copytree(store / "a", store / "b")
    for path in (store / "b").iterdir():  # equal names, sizes and dates, other pixels
        Image.new("RGB", (6, 6), (251, 251, 251)).save(path)
        same = (store / "a" / path.name).stat()
        assert path.stat().st_size == same.st_size
        os.utime(path, ns=(same.st_atime_ns, same.st_mtime_ns))
    same = (store / "a").stat()
    os.utime(store / "b", ns=(same.st_atime_ns, same.st_mtime_ns))
    (lakes / "dry").unlink()
    (lakes / "dry").symlink_to(store / "b")
    assert look() == (16, 251)


def test_a_restored_date_does_not_hide_a_change(lakes: Path) -> None:
    opened(lakes)
    path = lakes / "dry" / "000.png"
    before = path.stat()
    Image.new("RGB", (6, 6), (61, 61, 61)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (opened(lakes).train.images == 61).any()


def test_an_empty_class_is_seen_beside_a_decoded_copy(lakes: Path) -> None:
    opened(lakes)
    (lakes / "icy").mkdir()
    with pytest.raises(DataError, match="icy' has no images"):
        opened(lakes)


def test_a_loop_of_links_ends(lakes: Path) -> None:
    (lakes / "dry" / "again").symlink_to(lakes)
    assert len(listing.scan(lakes).nested["dry"]) <= 15


def test_the_list_of_a_folder(lakes: Path) -> None:
    fill(lakes / ".ipynb_checkpoints", 1)
    fill(lakes / "dry" / "2021", 2)
    (lakes / "full" / "000.png").write_bytes(b"damaged")
    Image.new("L", (7, 5)).save(lakes / "wet" / "000.png")
    Image.fromarray(np.zeros((6, 6), dtype=np.uint16)).save(lakes / "wet" / "001.png")
    rows = {row[1]: row for row in listing.table(lakes)}
    assert rows["dry"] == ("all", "dry", "5", "6 x 6", "RGB", "")
    assert rows["dry/*"] == ("all", "dry/*", "2", "6 x 6", "RGB", "in subfolders: see data.source.nested")
    assert rows["full"][2:5] == ("5", "6 x 6", "RGB")
    assert rows["full"][5].startswith("refused: image '")
    assert rows["wet"][2:5] == ("5", "6 x 6 (4), 7 x 5 (1)", "RGB (3), L (1), I;16, 16 bits (1)")
    assert rows[".ipynb_checkpoints"][5] == "left out: hidden"
    result = CliRunner().invoke(app, ["data", str(lakes)], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for words in ("left out: hidden", "dry/*", "7 x 5 (1)", "in subfolders"):
        assert words in result.stdout
    missing = CliRunner().invoke(app, ["data", str(lakes / "nowhere")])
    assert missing.exit_code == 1
    assert "cannot be read" in missing.stderr


def test_a_size_that_cannot_be_is_refused_before_anything_is_decoded(lakes: Path, monkeypatch: Any) -> None:
    source = 'data.source={name="imagefolder", size=100000}'
    with pytest.raises(ScenarioError, match="data.source.size = 100000: Input should be less than or equal to 4096"):
        overrides.load("digits", [source])
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"total": 10_000})())
    with pytest.raises(DataError, match=r"would take .* GB where this machine has .*: lower data.source.size, .* 100"):
        opened(lakes, size=100)


GOOD = (np.zeros((4, 1, 2, 2), dtype=np.uint8), np.array([0, 1, 0, 1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": (GOOD[0] / 255, GOOD[1])}, "training images of type float64 instead of uint8"),
        ({"train": (GOOD[0][:, 0], GOOD[1])}, r"training images of shape \(4, 2, 2\) instead"),
        ({"test": (GOOD[0][:, :, :1], GOOD[1])}, r"test images of shape \(1, 1, 2\) unlike the others"),
        ({"test": (GOOD[0], GOOD[1] - 1)}, "test label -1 at 0, with 2 classes from 0 to 1"),
        ({"test": (GOOD[0], GOOD[1] + 1)}, "test label 2 at 1"),
        ({"train": (GOOD[0], GOOD[1].astype(float))}, "training labels of type float64"),
        ({"train": (GOOD[0], GOOD[1][:3])}, r"training labels of shape \(3,\) for 4 images"),
        ({"mean": (float("nan"),)}, r"mean = \(nan,\)"),
        ({"std": (0.0,)}, r"std = \(0.0,\)"),
        ({"std": (1.0, 1.0)}, r"std = \(1.0, 1.0\)"),
        ({"classes": ("a", "a")}, "two classes of one name"),
        ({"attributes": {"x": np.arange(3)}}, r"attribute 'x' of shape \(3,\) for 4 training images"),
        ({"attributes": {"x": np.arange(4) > 1}}, "attribute 'x' of type bool instead of texts or integers"),
        ({"attributes": {"x": np.array([None] * 4)}}, "attribute 'x' of type object instead of texts or integers"),
    ],
)
def test_what_a_source_gives_is_checked(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    arguments = {"title": "t", "classes": ("a", "b"), "train": GOOD, "test": GOOD, "mean": (0.5,), "std": (0.5,)}

    class Source:
        settings = ImageFolder.Settings()

        def files(self, root: Path | None) -> None:
            return None

        def read(self, root: Path | None, *, download: bool) -> Decoded:
            return Decoded(**(arguments | change))

    with pytest.raises(DataError, match=rf"data source 'mine' gives {message}"):
        cache.open_dataset(Source(), "mine", tmp_path)


def test_statistics_for_other_channels_do_not_colour_images() -> None:
    with pytest.raises(DataError, match=r"data.mean has 3 values for images of 1 channels"):
        standardise(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), (0.1, 0.2, 0.3), (0.5,))
