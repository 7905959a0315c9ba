from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from semfed import overrides
from semfed.data.dataset import Dataset, ImageSet
from semfed.errors import DataError, ScenarioError
from semfed.latents import Place
from semfed.latents.files import FileLatents
from semfed.latents.pretrained import TorchvisionLatents, load_network
from semfed.latents.trained import TrainedLatents

Make = Callable[..., Place]


@pytest.fixture
def place(tmp_path: Path) -> Make:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 1, 8, 8), generator=generator).to(torch.uint8)
    part = ImageSet(images, torch.arange(60) % 10)
    dataset = Dataset("noise", tuple(map(str, range(10))), part, part, (0.5,), (0.3,))

    def made(*changes: str, seed: int = 0) -> Place:
        scenario = overrides.load("alignment-digits", ["training.epochs=1", *changes]).arm("shared")
        return Place(
            scenario,
            seed,
            dataset,
            lambda rows: (images if rows is None else images[rows]).float() / 255,
            lambda user: torch.arange(15 * user, 15 * user + 15),
            tmp_path,
            torch.device("cpu"),
        )

    return made


def test_trained_encoders_are_seeded_apart_and_of_their_own_kind(place: Make) -> None:
    def encode(owner: int | None, seed: int = 0, homogeneous: bool = False) -> torch.Tensor:
        settings = TrainedLatents.Settings(access_point_images=20, homogeneous=homogeneous)
        return TrainedLatents(settings, place(seed=seed)).encoder(owner)(None)

    assert torch.equal(encode(0), encode(0))
    assert not torch.equal(encode(0), encode(0, seed=1))
    assert not torch.equal(encode(0), encode(None))
    assert [encode(owner).shape[1] for owner in (None, 0, 1, 2, 3)] == [24, 24, 16, 32, 24]
    assert encode(2, homogeneous=True).shape == (60, 24)
    source = TrainedLatents(TrainedLatents.Settings(), place())
    assert source.samples() == 60
    assert torch.equal(source.private(1), torch.arange(15, 30))
    assert torch.equal(source.labels(torch.tensor([3, 12])), torch.tensor([3, 2]))
    assert source.encoder(1)(torch.tensor([0, 5])).min() < 0, "the latent precedes the ReLU"


def arrays(seed: int, width: int, **changes: Any) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    made = {
        "train": generator.standard_normal((30, width)).astype(np.float32),
        "train_labels": np.arange(30) % 10,
        "test": generator.standard_normal((10, width)),
        "test_labels": np.arange(10),
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


def files(place: Make, root: Path, user: dict[str, np.ndarray]) -> FileLatents:
    np.savez(root / "ap.npz", **arrays(0, 6))
    save_file(arrays(1, 4), root / "a.safetensors")
    np.savez(root / "b.npz", **user)
    users = ("a.safetensors", "b.npz", "a.safetensors", "b.npz")
    return FileLatents(FileLatents.Settings(access_point="ap.npz", users=users), place())


def test_latents_from_files(place: Make, tmp_path: Path) -> None:
    source = files(place, tmp_path, arrays(2, 5))
    assert source.encoder(None)(None).shape == (10, 6)
    assert torch.equal(source.encoder(0)(torch.tensor([2, 0])), torch.from_numpy(arrays(1, 4)["train"][[2, 0]]))
    found = source.encoder(1)(None)
    assert found.dtype == torch.float32
    assert found.shape == (10, 5)
    assert source.samples() == len(source.private(3)) == 30
    assert torch.equal(source.labels(None), torch.arange(10))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"test": None}, "has no array 'test'"),
        ({"train": np.zeros((29, 5))}, r"train is \[29, 5\] with train_labels \[30\]"),
        ({"test_labels": np.zeros(10)}, "write .* integers"),
        ({"test_labels": np.arange(10)[::-1].copy()}, "same images in the same order"),
        ({"train": np.array([object()] * 30, dtype=object)}, "cannot be read"),
    ],
)
def test_unusable_files_are_refused(place: Make, tmp_path: Path, damage: dict[str, Any], message: str) -> None:
    source = files(place, tmp_path, arrays(2, 5, **damage))
    with pytest.raises(DataError, match=message):
        source.encoder(1)


def test_files_that_are_not_there_or_of_another_kind(place: Make, tmp_path: Path) -> None:
    for name, message in (("gone.npz", "cannot be read"), ("x.pkl", "from .npz and .safetensors files only")):
        settings = FileLatents.Settings(access_point=name, users=("a", "b", "c", "d"))
        with pytest.raises(DataError, match=message):
            FileLatents(settings, place())
    one = 'learner.latents={name = "files", access_point = "x.npz", users = ["a"]}'
    with pytest.raises(ScenarioError, match="names 1 files for 4 users"):
        overrides.load("alignment-digits", [one])


def test_pretrained_networks_are_never_downloaded(place: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    users = ("shufflenet_v2_x0_5",) * 4
    source = TorchvisionLatents(TorchvisionLatents.Settings(access_point="squid", users=users, size=32), place())
    with pytest.raises(DataError, match="no model 'squid'"):
        source.encoder(None)
    with pytest.raises(DataError, match="weights of 'shufflenet_v2_x0_5' are not here: put https"):
        source.encoder(0)
    from torchvision.models import ShuffleNet_V2_X0_5_Weights, shufflenet_v2_x0_5

    (tmp_path / "checkpoints").mkdir()
    name = ShuffleNet_V2_X0_5_Weights.DEFAULT.url.rsplit("/", 1)[-1]
    torch.save(shufflenet_v2_x0_5().state_dict(), tmp_path / "checkpoints" / name)
    assert source.encoder(0)(torch.arange(3)).shape == (3, 1024)
    assert not load_network("shufflenet_v2_x0_5").training


def test_an_unknown_source_is_named(place: Make) -> None:
    with pytest.raises(ScenarioError, match="no plugin 'train' among the latents; did you mean 'trained'"):
        place("learner.latents.name=train")
