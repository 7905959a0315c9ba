import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.numpy import save_file
from safetensors.torch import save_file as torch_save

from semfed.algorithms.alignment.data import AlignmentData, LatentSettings
from semfed.algorithms.alignment.latents import LatentContext
from semfed.algorithms.alignment.latents.base import LatentSource
from semfed.algorithms.alignment.latents.files import FileLatents, read_latents
from semfed.algorithms.alignment.latents.pretrained import TorchvisionLatents, load_network
from semfed.algorithms.alignment.latents.trained import TrainedLatents
from semfed.data.dataset import Dataset, ImageSet
from semfed.errors import DataError, ScenarioError
from semfed.scenario import overrides

Make = Callable[..., LatentContext]


@pytest.fixture
def place(tmp_path: Path) -> Make:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 1, 8, 8), generator=generator).to(torch.uint8)
    part = ImageSet(images, torch.arange(60) % 10)
    dataset = Dataset("noise", tuple(map(str, range(10))), part, part, (0.5,), (0.3,))

    def made(*changes: str, seed: int = 0) -> LatentContext:
        scenario = overrides.load("alignment-digits", ["training.epochs=1", *changes]).arm("shared")
        return LatentContext(
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
    assert (source.samples(), len(source.private(3))) == (30, 15)
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


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"train_labels": np.arange(30) % 10 - 1}, r"b.npz': train_labels\[0\] is -1, but the data set has 10 classes"),
        ({"test_labels": np.arange(10) + 1}, r"b.npz': test_labels\[9\] is 10, .*: count them from 0 to 9"),
        ({"test_labels": np.arange(10, dtype=np.uint64) + 2**63}, r"test_labels\[0\] is 9223372036854775808"),
        ({"test_labels": np.arange(10) == 3}, "test_labels .* bool: write .* integers"),
        ({"test_labels": np.arange(10).astype(str)}, "test_labels .* <U21: write .* integers"),
        ({"test_labels": np.arange(10)[:, None]}, r"test_labels \[10, 1\]"),
        ({"test": np.zeros((10, 4))}, "train and test have latents of 5 and 4 numbers"),
        ({"train": np.zeros((30, 5), dtype=complex)}, "b.npz': train is of type complex128: write floats"),
        ({"train": np.full((30, 5), 1e39)}, r"b.npz': train\[0, 0\] is 1e\+39, which float32 cannot hold"),
        ({"train": np.full((30, 5), 2**24 + 1)}, r"train\[0, 0\] is 16777217, which float32 cannot hold"),
        ({"train": np.zeros((30, 0))}, r"train is \[30, 0\]: write at least one sample"),
    ],
)
def test_what_would_be_converted_in_silence_is_refused(
    place: Make, tmp_path: Path, damage: dict[str, Any], message: str
) -> None:
    source = files(place, tmp_path, arrays(2, 5, **damage))
    with pytest.raises(DataError, match=message):
        source.encoder(1)


@given(
    label=st.integers(-(2**40), 2**40),
    row=st.integers(0, 29),
    classes=st.integers(1, 40),
    kind=st.sampled_from(["i1", "u1", "i2", ">i4", "<i8", ">u8"]),
)
@settings(max_examples=60)
def test_labels_are_those_of_the_file_or_refused_with_their_place(
    label: int, row: int, classes: int, kind: str, tmp_path_factory: Any
) -> None:
    limits = np.iinfo(kind)
    label = min(max(label, limits.min), limits.max)
    labels = np.arange(30) % classes
    labels[row] = label
    path = tmp_path_factory.mktemp("latents") / "x.npz"
    np.savez(path, **arrays(2, 5, train_labels=labels.astype(kind), test_labels=np.arange(10) % classes))
    if 0 <= label < classes:
        assert read_latents(path, classes)["train_labels"].tolist() == labels.tolist()
    else:
        with pytest.raises(DataError, match=rf"x.npz': train_labels\[{row}\] is {label}, .* {classes} classes"):
            read_latents(path, classes)


@given(
    values=npst.arrays(
        st.sampled_from(["f2", "<f4", ">f4", "<f8", ">f8", "i1", "u2", ">i4", "<i8", "u8"]),
        (30, 3),
        elements={"allow_subnormal": False},
        fill=st.nothing(),
    ),
    order=st.sampled_from("CF"),
)
@settings(max_examples=100)
def test_latents_keep_their_values_or_are_refused_with_their_place(
    values: np.ndarray, order: Any, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.mktemp("latents") / "x.npz"
    np.savez(path, **arrays(2, 3, train=np.asarray(values, order=order)))
    exact = [[Fraction(value) if np.isfinite(value) else None for value in row] for row in values.tolist()]
    limit = Fraction(float(np.finfo(np.float32).max))
    integer = values.dtype.kind != "f"
    try:
        found = read_latents(path, 10)["train"]
    except DataError as error:
        row, column = map(int, re.search(r"train\[(\d+), (\d+)\]", str(error)).groups())  # type: ignore[union-attr]
        value = exact[row][column]
        lost = value is None or abs(value) > limit or (integer and Fraction(float(np.float32(int(value)))) != value)
        assert lost, error  # noqa: PT017
    else:
        assert found.dtype == torch.float32
        for row, wanted in zip(found.tolist(), exact, strict=True):
            for number, value in zip(row, wanted, strict=True):
                assert value is not None
                tolerance = 0 if integer else abs(value) / 2**24 + Fraction(1, 2**149)
                assert abs(Fraction(number) - value) <= tolerance


def test_half_precision_of_safetensors_is_exact(tmp_path: Path) -> None:
    made = {name: torch.from_numpy(array) for name, array in arrays(3, 4).items()}
    made["train"] = made["train"].bfloat16()
    torch_save(made, tmp_path / "x.safetensors")
    assert torch.equal(read_latents(tmp_path / "x.safetensors", 10)["train"], made["train"].float())


@pytest.mark.parametrize("length", [0, 10, 300, -10])
def test_a_file_that_was_cut_off_is_named(length: int, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "whole.npz", **arrays(2, 5))
    (tmp_path / "x.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:length])
    with pytest.raises(DataError, match=r"x.npz': latents cannot be read"):
        read_latents(tmp_path / "x.npz", 10)


class Odd(LatentSource):
    """A plugin that gives what it was told to."""

    given: ClassVar[tuple[Any, Any]]

    def encoder(self, owner: int | None) -> Any:
        return lambda rows: self.given[0]

    def labels(self, rows: torch.Tensor | None) -> torch.Tensor:
        return self.given[1]


@pytest.mark.parametrize(
    ("latents", "labels", "message"),
    [
        (torch.ones(60, 4), torch.arange(60) % 10 - 1, "labels from -1 to 8 for 10 classes"),
        (torch.ones(60, 4), torch.ones(60), r"labels from 1.0 to 1.0 for 10 classes"),
        (torch.ones(60, 4) / 0, torch.arange(60) % 10, "of the access point: numbers that are not finite"),
        (torch.ones(59, 4), torch.arange(60) % 10, r"\[59, 4\] torch.float32 instead of finite floats of shape \(60"),
        (torch.ones(60, 4).long(), torch.arange(60) % 10, r"\[60, 4\] torch.int64 instead"),
    ],
)
def test_what_a_plugin_gives_is_checked(place: Make, latents: Any, labels: Any, message: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(Odd, "given", (latents, labels), raising=False)
    there = place()
    prepared = AlignmentData(there, LatentSettings(pilots=60), lambda key, make: make())
    monkeypatch.setattr(prepared, "_source", lambda: Odd(Odd.Settings(), there))
    with pytest.raises(DataError, match=message):
        prepared._encode(None, None)
