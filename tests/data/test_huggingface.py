"""Data sets that ``datasets.save_to_disk`` has left."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pictures

from semfed.data import cache
from semfed.data.dataset import Dataset
from semfed.errors import DataError, ScenarioError
from semfed.scenario import overrides, plugins
from semfed.testing import check_dataset

datasets = pytest.importorskip("datasets")
PIXELS = np.random.default_rng(0).integers(0, 256, (30, 5, 4, 3), dtype=np.uint8)
LABELS = [k % 3 for k in range(30)]
NAMES = ["cat", "dog", "eel"]


def table(rows: slice = slice(None), *, label: Any = None, size: tuple[int, int] | None = None) -> Any:
    """Return rows as a data set with images and classes."""
    images = [Pictures.fromarray(pixels) for pixels in PIXELS[rows]]
    images = [image.resize(size) if size and k == 1 else image for k, image in enumerate(images)]
    label = label or datasets.ClassLabel(names=NAMES)
    features = datasets.Features({"id": datasets.Value("int64"), "picture": datasets.Image(), "animal": label})
    values = LABELS[rows] if getattr(label, "dtype", "") != "string" else [NAMES[k] for k in LABELS[rows]]
    return datasets.Dataset.from_dict({"id": range(len(values)), "picture": images, "animal": values}, features)


def opened(root: Path, **given: Any) -> Dataset:
    choice = plugins.parse("datasets", {"name": "huggingface", "folder": "animals", **given})
    return cache.open_dataset(choice.make(), choice.name, root, folder=root / "cache")


def refusal(root: Path, **given: Any) -> str:
    with pytest.raises(DataError) as told:
        opened(root, **given)
    return str(told.value)


def test_parts_columns_and_classes_are_those_on_disk(tmp_path: Path) -> None:
    parts = {"train": table(slice(0, 18)), "test": table(slice(18, 24)), "extra": table(slice(24, 30))}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "animals")
    data = opened(tmp_path)
    assert (data.train.images.numpy() == PIXELS[:18].transpose(0, 3, 1, 2)).all()
    assert (data.test.images.numpy() == PIXELS[18:24].transpose(0, 3, 1, 2)).all()
    assert data.train.labels.tolist() == LABELS[:18]
    assert (data.title, data.classes) == ("animals", ("cat", "dog", "eel"))
    assert (opened(tmp_path, test_split="extra").test.images.numpy() == PIXELS[24:].transpose(0, 3, 1, 2)).all()
    assert (opened(tmp_path, train_split="extra").train.images.numpy() == PIXELS[24:].transpose(0, 3, 1, 2)).all()
    assert set(check_dataset({"name": "huggingface", "folder": "animals"}, root=tmp_path).values()) <= {"passed"}
    assert "has the parts ['extra', 'test', 'train']; name one" in refusal(tmp_path, test_split="validation")
    assert "test_fraction = 0.5 has no effect" in refusal(tmp_path, test_fraction=0.5)


def test_columns_are_named(tmp_path: Path) -> None:
    kinds = {
        "one": datasets.Image(),
        "two": datasets.Image(),
        "label": datasets.Value("int64"),
        "age": datasets.Value("int64"),
    }
    pictures = [Pictures.fromarray(pixels) for pixels in PIXELS[:20]]
    rows = {
        "one": pictures,
        "two": pictures[::-1],
        "label": [k % 2 for k in range(20)],
        "age": [k // 10 for k in range(20)],
    }
    datasets.Dataset.from_dict(rows, datasets.Features(kinds)).save_to_disk(tmp_path / "animals")
    assert "['age', 'label', 'one', 'two'], of which 2 may be the image: name it in data.source.image" in refusal(
        tmp_path
    )
    assert "data.source.image = 'three': '" in refusal(tmp_path, image="three")
    images = [whole(opened(tmp_path, image=column)) for column in ("one", "two")]
    assert images[0].keys() == images[1].keys()
    assert images[0] != images[1], "the second column has them the other way around"
    by_age = whole(opened(tmp_path, image="one", label="age"))
    assert by_age == {PIXELS[k].transpose(2, 0, 1).tobytes(): k // 10 for k in range(20)}


def whole(data: Dataset) -> dict[bytes, int]:
    """Return the classes of all images, of both parts."""
    pairs = [pair for part in (data.train, data.test) for pair in zip(part.images, part.labels, strict=True)]
    return {image.numpy().tobytes(): int(label) for image, label in pairs}


def test_pixels_are_as_asked(tmp_path: Path) -> None:
    deep, clear = Pictures.fromarray(np.full((4, 4), 775, dtype=np.uint16)), Pictures.new("RGBA", (4, 4))
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    for name, image in (("deep", deep), ("clear", clear)):
        rows = {"image": [image] * 4, "label": [0, 1, 0, 1]}
        datasets.Dataset.from_dict(rows, kinds).save_to_disk(tmp_path / name)
    assert "16 bits a value" in refusal(tmp_path, folder="deep", test_fraction=0.5)
    assert "transparent pixels" in refusal(tmp_path, folder="clear", test_fraction=0.5)
    found = opened(tmp_path, folder="deep", depth="reduce", test_fraction=0.5)
    assert (found.shape, found.train.images.unique().tolist()) == ((1, 4, 4), [775 // 256])
    found = opened(tmp_path, folder="clear", background=9, grayscale=True, resize=3, test_fraction=0.5)
    assert (found.shape, found.train.images.unique().tolist()) == ((1, 3, 3), [9])


@pytest.mark.parametrize(("label", "names"), [("string", tuple(NAMES)), ("int64", ("0", "1", "2"))])
def test_one_table_is_split_by_class(label: str, names: tuple[str, ...], tmp_path: Path) -> None:
    table(label=datasets.Value(label)).save_to_disk(tmp_path / "animals")
    assert "of which none may be the label: name it in data.source.label" in refusal(tmp_path)
    data = opened(tmp_path, label="animal", test_fraction=0.3)
    assert [part.labels.bincount().tolist() for part in (data.train, data.test)] == [[7] * 3, [3] * 3]
    assert data.classes == names
    expected = {PIXELS[k].transpose(2, 0, 1).tobytes(): LABELS[k] for k in range(30)}
    assert whole(data) == expected
    other = opened(tmp_path, label="animal", test_fraction=0.3, split_seed=1)
    assert other.test.images.tolist() != data.test.images.tolist()


def test_attributes_are_columns_that_are_named(tmp_path: Path) -> None:
    """They stay with their images, also where a table is split."""
    texts = [f"w{pixels.sum()}" for pixels in PIXELS]
    whole = table().add_column("writer", texts).add_column("gap", [None, *range(29)])
    whole.save_to_disk(tmp_path / "animals")
    parts = {"train": whole.select(range(20)), "test": whole.select(range(20, 30))}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "parts")
    for case in ({"test_fraction": 0.3}, {"folder": "parts"}):
        data = opened(tmp_path, attributes=["writer", "animal"], **case)
        assert data.attributes["writer"].tolist() == [f"w{image.sum()}" for image in data.train.images]
        assert data.attributes["animal"].tolist() == data.train.labels.tolist()
        assert len(data.train) in (20, 21)
    assert not opened(tmp_path).attributes
    assert "has the columns ['animal', 'gap', 'id', 'picture', 'writer'], but no 'who'" in refusal(
        tmp_path, attributes=["who"]
    )
    for column in ("gap", "picture"):
        assert f"column '{column}' of '{tmp_path}/animals' has no text, or no integer, in every row" in refusal(
            tmp_path, attributes=[column]
        )


def test_attributes_that_no_partition_deals_by_are_refused() -> None:
    source = {"name": "huggingface", "folder": "animals", "attributes": ["writer"]}
    with pytest.raises(ScenarioError, match="attributes has no effect: partition 'iid' deals by none"):
        overrides.load("digits", {"data": {"source": source, "partition": "iid"}})
    changes = {"source": {"name": "compressed", "of": source, "bits": 90.0}, "partition": "iid"}
    with pytest.raises(ScenarioError, match="data.source.of.attributes has no effect"):
        overrides.load("digits", {"data": changes})
    overrides.load("digits", {"data": {"source": source, "partition": {"name": "natural", "by": "writer"}}})


def test_arrays_are_images_too(tmp_path: Path) -> None:
    kinds = {"image": datasets.Array2D((4, 4), "uint8"), "label": datasets.ClassLabel(names=["a", "b"])}
    rows = {"image": list(PIXELS[:20, :4, :, 0]), "label": [k % 2 for k in range(20)]}
    datasets.Dataset.from_dict(rows, datasets.Features(kinds)).save_to_disk(tmp_path / "animals")
    data = opened(tmp_path)
    found = {image.tobytes() for part in (data.train, data.test) for image in part.images.numpy()}
    assert found == {pixels.tobytes() for pixels in PIXELS[:20, :4, :, 0]}


def test_sizes_that_differ_are_refused_or_resized(tmp_path: Path) -> None:
    table(size=(3, 3)).save_to_disk(tmp_path / "animals")
    assert "'animals[1]' has (3, 3) pixels where others have (5, 4): set data.source.resize" in refusal(tmp_path)
    assert opened(tmp_path, resize=8).shape == (3, 8, 8)


def test_nothing_is_fetched_and_the_sentence_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refusal(tmp_path)
    assert f"folder '{tmp_path}/animals' does not exist" in said
    assert "datasets.load_dataset(NAME).save_to_disk(FOLDER)" in said
    (tmp_path / "animals").mkdir()
    assert "cannot be read as a data set (FileNotFoundError" in refusal(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "needs the package datasets: pip install 'semfed[hub]'" in refusal(tmp_path)
