"""Arrays in ``.npz`` files come as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semfed.data import cache
from semfed.data.dataset import Dataset
from semfed.data.npz import PARTS
from semfed.errors import DataError
from semfed.scenario import plugins
from semfed.testing import check_dataset

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (30, 5, 4), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (30, 5, 4, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3


def opened(root: Path, **table: Any) -> Dataset:
    choice = plugins.parse("datasets", {"name": "npz", "file": "own.npz", **table})
    return cache.open_dataset(choice.make(), choice.name, root, folder=root / "cache")


def save(root: Path, file: str = "own.npz", **arrays: Any) -> None:
    np.savez(root / file, **arrays)


@pytest.mark.parametrize(
    "prefixes",
    [("train_images", "train_labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test")],
)
def test_parts_are_those_of_the_file(prefixes: tuple[str, ...], tmp_path: Path) -> None:
    save(tmp_path, **dict(zip(prefixes, (COLOUR[:20], LABELS[:20, None], COLOUR[20:], LABELS[20:, None]), strict=True)))
    data = opened(tmp_path)
    assert (data.train.images.numpy() == COLOUR[:20].transpose(0, 3, 1, 2)).all()
    assert (data.test.images.numpy() == COLOUR[20:].transpose(0, 3, 1, 2)).all()
    assert data.test.labels.tolist() == LABELS[20:].tolist()
    assert (data.title, data.classes) == ("own", ("0", "1", "2"))
    scaled = COLOUR[:20] / 255
    assert data.mean == pytest.approx(scaled.mean((0, 1, 2)).tolist(), rel=1e-12)
    assert data.std == pytest.approx(scaled.std((0, 1, 2)).tolist(), rel=1e-12)


def test_one_file_is_split_by_class(tmp_path: Path) -> None:
    save(tmp_path, images=GREY, labels=LABELS.astype(np.uint8), classes=np.array(["a", "b", "c"]))
    data = opened(tmp_path, test_fraction=0.3)
    assert [part.labels.bincount().tolist() for part in (data.train, data.test)] == [[7] * 3, [3] * 3]
    assert data.classes == ("a", "b", "c")
    rows = {GREY[k].tobytes(): int(LABELS[k]) for k in range(30)}
    found = [pair for part in (data.train, data.test) for pair in zip(part.images, part.labels, strict=True)]
    assert {image.numpy().tobytes(): int(label) for image, label in found} == rows
    assert opened(tmp_path, test_fraction=0.3, split_seed=1).test.images.tolist() != data.test.images.tolist()
    assert set(check_dataset({"name": "npz", "file": "own.npz"}, root=tmp_path).values()) <= {"passed"}


def test_real_numbers_of_images_stay_with_their_images(tmp_path: Path) -> None:
    means = GREY.mean(axis=(1, 2))
    save(tmp_path, images=GREY, labels=LABELS, target_brightness=means, target_row=np.arange(30.0))
    save(tmp_path, "x.npz", images=GREY[20:], labels=LABELS[20:], target_brightness=means[20:])
    parts = {"train": (GREY[:20], LABELS[:20]), "test": (GREY[20:], LABELS[20:])}
    named = {
        f"{part}_{kind}": a for part, pair in parts.items() for kind, a in zip(("images", "labels"), pair, strict=True)
    }
    save(tmp_path, "y.npz", train_target_brightness=means[:20], test_target_brightness=means[20:], **named)
    for case in ({"test_fraction": 0.3}, {"file": "x.npz", "test_file": "x.npz"}, {"file": "y.npz"}):
        for part in (opened(tmp_path, **case).train, opened(tmp_path, **case).test):
            np.testing.assert_allclose(part.targets["brightness"], part.images.double().mean((1, 2, 3)), rtol=1e-6)
    assert sorted(opened(tmp_path, test_fraction=0.3).test.targets) == ["brightness", "row"]
    save(tmp_path, "z.npz", images=GREY, labels=LABELS, target_brightness=means[:7])
    with pytest.raises(DataError, match=r"z.npz' has target_brightness of shape \(7,\) for 30 images: save one value"):
        opened(tmp_path, file="z.npz")


def test_attributes_stay_with_their_training_images(tmp_path: Path) -> None:
    """An image's attributes are a digest of its pixels, so that its own are known."""
    texts, numbers = np.array([str(image.sum()) for image in GREY]), np.array([image.sum() for image in GREY])
    whole = {"images": GREY, "labels": LABELS, "attribute_text": texts, "attribute_number": numbers}
    save(tmp_path, **whole)
    parts = dict(zip(PARTS[0], (GREY[:20], LABELS[:20], GREY[20:], LABELS[20:]), strict=True))
    save(tmp_path, "x.npz", **parts, train_attribute_text=texts[:20], train_attribute_number=numbers[:20])
    for case in ({"test_fraction": 0.3}, {"test_file": "own.npz"}, {"file": "x.npz"}):
        for _ in ("decoded", "kept"):
            data = opened(tmp_path, **case)
            sums = data.train.images.sum(dim=(1, 2, 3))
            assert data.attributes["number"].tolist() == sums.tolist()
            assert data.attributes["text"].tolist() == [str(int(one)) for one in sums]
            assert data.to(torch.device("cpu")).attributes == data.attributes
    for array, words in (
        (texts[:7], r"own.npz' has attribute_text of shape \(7,\) for 30 images: save one value an image"),
        (numbers / 2, "attribute 'text' of type float64 instead of texts or integers"),
        (texts.astype("S"), r"attribute 'text' of type \|S\d instead of texts or integers"),
    ):
        save(tmp_path, **{**whole, "attribute_text": array})
        with pytest.raises(DataError, match=words):
            opened(tmp_path)


def test_the_test_set_may_be_a_file_of_its_own(tmp_path: Path) -> None:
    save(tmp_path, images=GREY[:20], labels=LABELS[:20])
    save(tmp_path, "other.npz", images=GREY[20:], labels=LABELS[20:])
    data = opened(tmp_path, test_file="other.npz")
    assert (data.train.images[:, 0].numpy() == GREY[:20]).all()
    assert (data.test.images[:, 0].numpy() == GREY[20:]).all()


def test_the_axis_of_channels_is_found_or_told(tmp_path: Path) -> None:
    first = COLOUR.transpose(0, 3, 1, 2)
    save(tmp_path, images=first, labels=LABELS)
    assert opened(tmp_path).shape == (3, 5, 4)
    thin = RANDOM.integers(0, 256, (30, 3, 4, 3), dtype=np.uint8)
    save(tmp_path, images=thin, labels=LABELS)
    with pytest.raises(DataError, match=r"either of two: set data.source.channels to 'first' or 'last'"):
        opened(tmp_path)
    assert opened(tmp_path, channels="first").shape == (3, 4, 3)
    assert opened(tmp_path, channels="last").shape == (3, 3, 4)


@pytest.mark.parametrize(
    ("arrays", "given", "words"),
    [
        ({"images": GREY / 255, "labels": LABELS}, {}, "images of type float64 and shape (30, 5, 4): save uint8"),
        ({"images": GREY[:, 0], "labels": LABELS}, {}, "shape (30, 4): save uint8"),
        ({"images": GREY, "labels": LABELS[:29]}, {}, "labels of type int64 and shape (29,) for 30 images"),
        ({"images": GREY, "labels": LABELS / 1}, {}, "labels of type float64"),
        ({"pictures": GREY, "labels": LABELS}, {}, "has no array 'images' among ['labels', 'pictures']"),
        ({"images": GREY, "labels": LABELS, "classes": np.array(["a", "b"])}, {}, "for labels from 0 to 2: save one"),
        ({"images": GREY, "labels": LABELS}, {"channels": "first"}, "data.source.channels = 'first' has no effect"),
        ({"images": COLOUR[..., :2], "labels": LABELS}, {}, "is missing: save images of one or three channels"),
        ({"images": GREY, "labels": LABELS}, {"test_fraction": 0.01}, "data.source.test_fraction = 0.01 makes 0"),
        ({"images": np.array([{}]), "labels": LABELS}, {}, "cannot be read (Object arrays cannot be loaded"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    arrays: dict[str, Any], given: dict[str, Any], words: str, tmp_path: Path
) -> None:
    save(tmp_path, **arrays)
    with pytest.raises(DataError) as told:
        opened(tmp_path, **given)
    assert words in str(told.value)


def test_files_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"own.npz' does not exist: put it there, or set data.source.file"):
        opened(tmp_path)
    (tmp_path / "own.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(DataError, match=r"cannot be read .*: save it with numpy.savez"):
        opened(tmp_path)
    parts = {"train_images": GREY, "train_labels": LABELS, "test_images": GREY[:, :4], "test_labels": LABELS}
    save(tmp_path, **parts)
    with pytest.raises(DataError, match=r"training images have .* = \(1, 5, 4\) and test images \(1, 4, 4\)"):
        opened(tmp_path)
    save(tmp_path, **parts | {"test_images": GREY})
    with pytest.raises(DataError, match=r"split_seed = 3 has no effect: .* comes with a test set; leave it out"):
        opened(tmp_path, split_seed=3)
