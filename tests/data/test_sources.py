import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semfed.data import cache, tasks
from semfed.data.dataset import Dataset, standardise
from semfed.errors import DataError
from semfed.scenario import Task, plugins


def opened(root: Path | None, folder: Path, /, **table: object) -> Dataset:
    choice = plugins.parse("datasets", table)
    return cache.open_dataset(choice.make(), choice.name, root, folder=folder)


def paint(folder: Path, classes: dict[str, int], size: int = 8) -> None:
    for value, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            Image.new("RGB", (size, size), (40 * value, 10, k)).save(folder / name / f"{k:03}.png")


def test_digits_are_whole_and_split_by_class(tmp_path: Path) -> None:
    data = opened(None, tmp_path, name="digits")
    assert (len(data.train), len(data.test), data.shape) == (1258, 539, (1, 8, 8))
    assert data.train.images.dtype == torch.uint8
    assert torch.bincount(data.test.labels).min() >= 50
    scaled = data.train.images.float() / 255
    assert data.mean[0] == pytest.approx(scaled.mean().item(), abs=1e-3)
    assert data.std[0] == pytest.approx(scaled.std().item(), abs=1e-3)


def test_standardised_images_have_mean_zero_and_unit_variance(tmp_path: Path) -> None:
    data = opened(None, tmp_path, name="digits")
    images = standardise(data.train.images, data.mean, data.std)
    assert images.mean().item() == pytest.approx(0, abs=0.01)
    assert images.std().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_missing_data_say_where_to_put_them(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="put its files into .* or allow the download"):
        opened(tmp_path, tmp_path / "cache", name=name)
    with pytest.raises(DataError, match="needs a data root: give --data-root"):
        opened(None, tmp_path / "cache", name=name)
    with pytest.raises(DataError, match="is not a folder"):
        opened(tmp_path / "nowhere", tmp_path / "cache", name=name)


def test_your_own_images(tmp_path: Path) -> None:
    paint(tmp_path / "data" / "lakes", {"dry": 10, "wet": 20})
    data = opened(tmp_path / "data", tmp_path / "cache", name="imagefolder", folder="lakes", size=8)
    assert data.classes == ("dry", "wet")
    assert data.shape == (3, 8, 8)
    assert [torch.bincount(s.labels).tolist() for s in (data.train, data.test)] == [[8, 16], [2, 4]]
    scaled = data.train.images.double() / 255
    assert data.mean == pytest.approx(scaled.mean((0, 2, 3)).tolist())


def test_images_that_are_split_already(tmp_path: Path) -> None:
    paint(tmp_path / "train", {"a": 3, "b": 3})
    paint(tmp_path / "test", {"a": 1, "b": 2})
    data = opened(tmp_path, tmp_path / "cache", name="imagefolder", size=4, grayscale=True)
    assert (len(data.train), len(data.test), data.shape) == (6, 3, (1, 4, 4))


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    paint(tmp_path / "data", {"a": 5, "b": 5})
    (tmp_path / "data" / "b" / "003.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"003\.png' cannot be decoded"):
        opened(tmp_path, tmp_path / "cache", name="imagefolder", folder="data")


def test_decoded_once_and_checked(tmp_path: Path) -> None:
    paint(tmp_path / "data", {"a": 5, "b": 5})
    table = {"name": "imagefolder", "folder": "data", "size": 8}
    first = opened(tmp_path, tmp_path / "cache", **table).train.images.clone()
    (entry,) = (tmp_path / "cache").iterdir()
    before = (entry / "meta.json").stat().st_mtime_ns
    again = opened(tmp_path, tmp_path / "cache", **table)
    assert (entry / "meta.json").stat().st_mtime_ns == before
    assert torch.equal(first, again.train.images)

    damaged = entry / "train-images.npy"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    mended = opened(tmp_path, tmp_path / "cache", **table)
    assert torch.equal(mended.train.images, first)
    assert (entry / "meta.json").stat().st_mtime_ns != before


def test_what_another_process_has_decoded_in_between_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(tmp_path / "data", {"a": 5, "b": 5})
    rename = Path.rename

    def late(scratch: Path, entry: Path) -> Path:
        shutil.copytree(scratch, entry)
        return rename(scratch, entry)

    monkeypatch.setattr(Path, "rename", late)
    data = opened(tmp_path, tmp_path / "cache", name="imagefolder", folder="data")
    assert data.train.images[:, 1].unique().tolist() == [10]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_changed_files_are_decoded_anew(tmp_path: Path) -> None:
    paint(tmp_path / "data", {"a": 5, "b": 5})
    opened(tmp_path, tmp_path / "cache", name="imagefolder", folder="data")
    Image.new("RGB", (8, 8), (255, 255, 255)).save(tmp_path / "data" / "a" / "000.png")
    data = opened(tmp_path, tmp_path / "cache", name="imagefolder", folder="data")
    assert data.train.images.max() == 255


def test_a_cache_entry_is_no_pickle(tmp_path: Path) -> None:
    paint(tmp_path / "data", {"a": 5, "b": 5})
    images = opened(tmp_path, tmp_path / "cache", name="imagefolder", folder="data").train.images.clone()
    (entry,) = (tmp_path / "cache").iterdir()
    np.save(entry / "train-images.npy", np.array([{"evil": 1}], dtype=object), allow_pickle=True)
    meta = json.loads((entry / "meta.json").read_text())
    meta["sha256"]["train-images"] = cache._digest(entry / "train-images.npy")
    (entry / "meta.json").write_text(json.dumps(meta))
    again = opened(tmp_path, tmp_path / "cache", name="imagefolder", folder="data")
    assert torch.equal(again.train.images, images)


@pytest.mark.parametrize(("name", "sizes"), [("mnist", (60_000, 10_000)), ("cifar10", (50_000, 10_000))])
def test_real_data(data_root: Path, name: str, sizes: tuple[int, int]) -> None:
    data = opened(data_root, Path(os.environ["SEMFED_CACHE"]), name=name)
    assert (len(data.train), len(data.test)) == sizes
    assert len(data.classes) == 10
    part = data.train.images[::12].float() / 255
    assert data.mean == pytest.approx(part.mean((0, 2, 3)).tolist(), abs=0.01)
    assert data.std == pytest.approx(part.std((0, 2, 3)).tolist(), abs=0.01)


def test_label_maps() -> None:
    classes = tuple("0123")
    three_way = tasks.label_map(Task(values=(1, 2), rest="other"), "t2", classes)
    assert three_way.tolist() == [0, 1, 2, 0]
    parity = tasks.label_map(Task(values={"even": (0, 2), "odd": (1,)}), "parity", classes)
    assert parity.tolist() == [0, 1, 0, -1]
    rows, values = tasks.values(torch.tensor([3, 1, 2, 3]), parity)
    assert (rows.tolist(), values.tolist()) == ([1, 2], [1, 0])
    with pytest.raises(DataError, match=r"tasks.t.values: the data set has no class '7'"):
        tasks.label_map(Task(values=(7,), rest="other"), "t", classes)
