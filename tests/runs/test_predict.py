"""`semfed predict` says what a link decides about image files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import semfed
from semfed.cli import app
from semfed.data.cache import open_dataset
from semfed.errors import DataError
from semfed.runs.predict import predict


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("run") / "digits"
    return semfed.run("digits", arms="individual", seeds=[0], overrides=["rounds=3"], out=out)


@pytest.fixture(scope="module")
def pictures(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Test images as files: one grey, one in colours, one with a palette."""
    source, folder = digits.scenario.data.source, tmp_path_factory.mktemp("pictures")
    images = open_dataset(source.make(), source.name, None).test.images[:3, 0].numpy()
    paths = [folder / f"{k}.png" for k in range(3)]
    for path, pixels, mode in zip(paths, images, ("L", "RGB", "P"), strict=True):
        Image.fromarray(pixels).convert(mode).save(path)
    return paths


def test_files_are_decided_like_the_images_that_they_hold(digits: Any, pictures: list[Path]) -> None:
    link, source = digits.link(client="Sat 2"), digits.scenario.data.source
    images = open_dataset(source.make(), source.name, None).test.images[:3]
    wanted = link.logits(images, 7)["t2"].softmax(dim=1)
    found = predict(link, pictures, 7)
    assert [(one.image, one.task) for one in found] == [(path, "t2") for path in pictures]
    assert [one.value for one in found] == [("other", "1", "2")[k] for k in wanted.argmax(dim=1)]
    np.testing.assert_allclose([one.probability for one in found], wanted.max(dim=1).values, rtol=1e-6)


def test_the_table(digits: Any, pictures: list[Path]) -> None:
    words = ["predict", str(digits.folder), *map(str, pictures), "--client", "Sat 2", "--noise", "7"]
    said = CliRunner().invoke(app, words, env={"COLUMNS": "300"}).output.splitlines()
    assert said[0].strip() == "Sat 2, arm individual, seed 0, after round 3"
    assert said[1].split() == ["image", "task", "decision", "probability"]
    rows = [line.split() for line in said[2:5]]
    link = digits.link(client="Sat 2")
    assert rows == [
        [str(one.image), one.task, one.value, f"{one.probability:.3f}"] for one in predict(link, pictures, 7)
    ]
    assert said[5].strip() == "through the scenario's channel, noise of seed 7"


def test_images_of_another_size_are_refused(digits: Any, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(path)
    with pytest.raises(DataError, match=r"has 30 x 20 pixels, but the run's have 8 x 8: bring it to that size"):
        predict(digits.link(), [path])
    said = CliRunner().invoke(app, ["predict", str(digits.folder), str(tmp_path / "none.png")])
    assert said.exit_code == 1
    assert "cannot be decoded" in said.output
    assert "Traceback" not in said.output
