"""Real numbers of images: how close their estimates come, and which scenarios make no sense."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import semfed
from semfed.data.cache import open_dataset
from semfed.data.source import Decoded
from semfed.errors import DataError, SemfedError
from semfed.scenario import overrides
from semfed.scenario.settings import StrictModel
from tests.settings import bases
from tests.sources import source

GREYS = source(
    "Greys",
    """
    grey = np.random.default_rng(0).integers(256, size=400)
    images = np.broadcast_to(grey.astype(np.uint8)[:, None, None, None], (400, 1, 4, 4)).copy()
    labels, metres = np.arange(400) % 2, float(os.environ.get("FOOT", 100)) + grey / 51
    train, test = (images[:300], labels[:300]), (images[300:], labels[300:])
    targets = ({"height": metres[:300]}, {"height": metres[300:]})
    return Decoded("greys", ("0", "1"), train, test, mean=(0.5,), std=(0.29,), targets=targets)
    """,
)
"""An image's grey level from 0 to 255 tells a height of 100 to 105 m."""
TASK = {"kind": "regression", "target": "height", "centre": 102.5, "scale": 1.5}
CHANGES: dict[str, Any] = {
    "tasks": {"height": TASK},
    "clients": [{"name": name, "task": "height"} for name in "ab"],
    "data": {"source": "greys:Greys", "partition": "iid"},
    "learner": "regression",
    "strategy": "fedavg",
    "rounds": 5,
    "channel": {"name": "awgn", "uses": 4, "snr_db": 20.0},
    "training": {"optimizer": "adam", "lr": 0.02, "batch_size": 20},
}


@pytest.fixture
def run(module_beside: Callable[[str, str], Path]) -> Callable[..., Any]:
    """Run the base with changes, beside its module."""
    folder = module_beside("greys", GREYS)

    def done(out: Path = folder / "run", cache: Path | None = None, **changes: Any) -> Any:
        scenario = overrides.load(bases.BASES["plain"]() | CHANGES)
        (folder / "scenario.toml").write_text(scenario.to_toml())
        return semfed.run(folder / "scenario.toml", overrides=changes, out=out, cache=cache)

    return done


@pytest.fixture(autouse=True)
def _beside(module_beside: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(module_beside("greys", GREYS))


def test_estimates_learn_the_number_and_beat_its_mean(run: Callable[..., Any]) -> None:
    done = run()
    final = {name: entry["mean"] for name, entry in done.summary["arms"]["tiny"]["final"].items()}
    baselines = done.summary["baselines"]
    assert baselines["mse/average"] == pytest.approx(25 / 12, rel=0.2)  # of a height uniform over 5 m
    assert baselines["r2/average"] == pytest.approx(0, abs=0.05)
    assert final["r2/average"] > 0.9
    assert final["mae/average"] < 0.5 * baselines["mae/average"]
    assert final["mse/average"] == pytest.approx(final["loss/average"] * 1.5**2, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tasks.height.target": "hight"},
            r"tasks.height.target = 'hight': .*no such real numbers; did you mean 'height'",
        ),
        ({"tasks.height.target": ""}, "set target to its name"),
        ({"tasks.height.scale": 0.0}, "scale = 0.0: Input should be greater than 0"),
        ({"tasks.height.values": [1, 2]}, "has no effect: .* kind = 'classification'"),
        ({"learner": "reconstruction"}, "is a task of regression, but learner 'reconstruction' serves reconstruction"),
        ({"model.decoder.outputs": 10}, "outputs = 10, but one real number decides for 1"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Callable[..., Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SemfedError, match=message):
        run(**changes)


def test_a_trial_that_is_kept_is_not_one_of_other_numbers(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for index, foot in enumerate(("100", "101", "100")):
        monkeypatch.setenv("FOOT", foot)
        done = run(out=tmp_path / f"run{index}", cache=tmp_path / "trials", **{"rounds": 1})
        found.append(done.summary["arms"]["tiny"]["final"]["mse/average"]["mean"])
    assert found[0] != found[1]
    assert found[0] == found[2]
    assert len(list((tmp_path / "trials").iterdir())) == 2


class Kept:
    """A source with a file, so that what it gives is kept on disk."""

    Settings = StrictModel
    settings = StrictModel()

    def __init__(self, file: Path, targets: Any) -> None:
        self.file, self.targets = file, targets

    def files(self, root: Path | None) -> list[Path]:
        return [self.file]

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        split = np.zeros((3, 1, 2, 2), np.uint8), np.zeros(3, np.int64)
        return Decoded("kept", ("x",), split, split, (0.0,), (1.0,), targets=self.targets)


def test_targets_are_kept_with_the_decoded_images(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    numbers = {"a": np.array([1.5, -2.0, 3.0]), "b": np.array([0.0, 1.0, 2.0], np.float32)}
    source = Kept(tmp_path / "file", (numbers, {name: -values for name, values in numbers.items()}))
    for _ in range(2):  # written, and read again
        dataset = open_dataset(source, "kept", None, folder=tmp_path / "cache")
        assert {name: values.tolist() for name, values in dataset.train.targets.items()} == {
            "a": [1.5, -2.0, 3.0],
            "b": [0.0, 1.0, 2.0],
        }
        assert dataset.test.targets["a"].tolist() == [-1.5, 2.0, -3.0]
    taken = dataset.to(torch.device("cpu")).train.take(torch.tensor([2, 0]))
    assert taken.targets["a"].tolist() == [3.0, 1.5]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (({"a": np.zeros(3)}, {}), "other targets for training than for the test"),
        (({"a": np.zeros(2)}, {"a": np.zeros(3)}), "training targets 'a' that are not one finite real number an image"),
        (({"a": np.zeros(3)}, {"a": np.array([0, 1, np.nan])}), "test targets 'a' that are not one finite"),
        (({"a": np.zeros(3, int)}, {"a": np.zeros(3)}), "training targets 'a' that are not one finite"),
    ],
)
def test_targets_that_are_none_are_refused(targets: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=message):
        open_dataset(Kept(tmp_path / "file", targets), "kept", None, folder=tmp_path / "cache")
