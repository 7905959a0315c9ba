"""A data set of compressed images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from semfed import scenario as scenarios
from semfed.algorithms.digital import jpeg, pixels
from semfed.data.source import Decoded
from semfed.errors import DataError
from semfed.scenario import plugins
from semfed.testing.trials import SMALL
from tests.settings import bases

CLEAN = plugins.parse("datasets", "digits").make().read(None, download=False)


def read(**settings: object) -> Decoded:
    choice = plugins.parse("datasets", {"name": "compressed", "of": "digits", **settings})
    decoded: Decoded = choice.make().read(None, download=False)
    return decoded.checked("compressed")


def test_test_images_are_compressed_and_nothing_else() -> None:
    found = read(bits=64, code="pixels")
    assert np.array_equal(found.train[0], CLEAN.train[0])
    assert np.array_equal(found.test[1], CLEAN.test[1])
    assert (found.mean, found.std, found.classes) == (CLEAN.mean, CLEAN.std, CLEAN.classes)
    shape = pixels.best_shape(torch.from_numpy(CLEAN.train[0]), 64)
    assert shape is not None
    assert shape[0] ** 2 * shape[1] <= 64
    assert np.array_equal(found.test[0], pixels.coarse(torch.from_numpy(CLEAN.test[0]), *shape).numpy())
    assert found.title == "digits (scikit-learn), pixels in 64 bits"


def test_training_images_may_be_compressed_too() -> None:
    found = read(bits=9, code="pixels", parts="all")
    assert len(np.unique(found.train[0][:, :, 0, 0])) == 2, (
        "nine pixels of one bit have a corner that is black or white"
    )
    assert np.array_equal(found.train[1], CLEAN.train[1])


def test_jpeg_keeps_to_the_budget_and_shows_the_mean_colour_for_what_is_lost(tmp_path: Path) -> None:
    bases.write_data(tmp_path)
    folder = {"name": "imagefolder", "folder": "pictures", "size": 8}
    clean = plugins.parse("datasets", folder).make().read(tmp_path, download=False)
    cost = jpeg.sizes(torch.from_numpy(clean.test[0])).amin(1)
    budget = int(cost.median())
    choice = plugins.parse("datasets", {"name": "compressed", "of": folder, "bits": budget})
    shown = choice.make().read(tmp_path, download=False).test[0]
    lost = (shown == shown[:, :, :1, :1]).all((1, 2, 3))
    assert np.array_equal(lost, (cost > budget).numpy())
    assert 0 < lost.sum() < len(lost)
    assert shown[lost][0, :, 0, 0].tolist() == [round(255 * mean) for mean in clean.mean]
    too_few = plugins.parse("datasets", {"name": "compressed", "of": folder, "bits": int(cost.min()) - 1})
    with pytest.raises(DataError, match=f"takes {int(cost.min())} bits as JPEG; raise it, or take code 'pixels'"):
        too_few.make().read(tmp_path, download=False)


def test_attributes_stay_with_their_images(tmp_path: Path) -> None:
    bases.write_data(tmp_path)
    arrays = {"name": "npz", "file": "pictures.npz"}
    clean = plugins.parse("datasets", arrays).make().read(tmp_path, download=False)
    choice = plugins.parse(
        "datasets", {"name": "compressed", "of": arrays, "bits": 30, "code": "pixels", "parts": "all"}
    )
    found = choice.make().read(tmp_path, download=False)
    for name in ("orbit", "pass"):
        assert found.attributes[name].tolist() == clean.attributes[name].tolist()


def test_a_budget_for_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="a single pixel of 1 channels takes 1 bits at least"):
        read(bits=0.5, code="pixels")


def test_what_has_no_effect_is_told() -> None:
    source = {"name": "compressed", "of": "digits", "bits": 64}
    made = scenarios.validate(scenarios.merge(SMALL, {"data": {"source": source, "download": True}}))
    assert dict(made.data.source.settings.idle(made, "data.source")) == {
        "data.download": "data source 'digits' has nothing to download"
    }
