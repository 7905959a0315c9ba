"""torchvision's data sets by name, and whatever is written like them."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image
from torchvision import datasets
from typer.testing import CliRunner

import semfed
from semfed.cli import app
from semfed.data import cache
from semfed.data.dataset import Dataset
from semfed.errors import DataError, ScenarioError
from semfed.flower.trial import Trial
from semfed.scenario import overrides, plugins
from semfed.testing import check_dataset
from tests.publisher import publisher
from tests.settings import bases

PLUGINS = Path(__file__).parents[1] / "plugins"
LEARNS = {"training.epochs": 10, "training.momentum": 0.9, "model.encoder.hidden": [32]}
FAKE = {"name": "torchvision.datasets:FakeData", "size": 60, "image_size": [3, 6, 5], "num_classes": 3}


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)


def opened(root: Path | None, folder: Path, /, *, download: bool = False, **table: Any) -> Dataset:
    choice = plugins.parse("datasets", table)
    return cache.open_dataset(choice.make(), choice.name, root, download=download, folder=folder)


def refusal(root: Path | None, folder: Path, /, **table: Any) -> str:
    with pytest.raises((DataError, ScenarioError, ValueError)) as told:
        opened(root, folder, **table)
    return str(told.value)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write bytes as MNIST's files hold them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [0x0800 + array.ndim, *array.shape]
    path.write_bytes(b"".join(number.to_bytes(4, "big") for number in head) + array.tobytes())


def write_mnist(root: Path, kind: str = "MNIST", prefix: tuple[str, str] = ("train", "t10k")) -> dict[str, np.ndarray]:
    """Write a few random digits in torchvision's layout; return them."""
    random, written = np.random.default_rng(3), {}
    for part, count in zip(prefix, (30, 20), strict=True):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        written[part] = images
        write_idx(root / kind / "raw" / f"{part}-images-idx3-ubyte", images)
        write_idx(root / kind / "raw" / f"{part}-labels-idx1-ubyte", labels)
    return written


@pytest.mark.parametrize(("kind", "own"), [("MNIST", "mnist"), ("FashionMNIST", "fashion-mnist")])
def test_images_are_those_of_the_built_in_source(kind: str, own: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / "data", kind)
    by_name = opened(tmp_path / "data", tmp_path / "a", name=f"torchvision.datasets:{kind}")
    built_in = opened(tmp_path / "data", tmp_path / "b", name=own)
    for part in ("train", "test"):
        one, other = getattr(by_name, part), getattr(built_in, part)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    assert by_name.classes == tuple(getattr(datasets, kind).classes)
    scaled = by_name.train.images.double() / 255
    assert by_name.mean == pytest.approx([float(scaled.mean())], rel=1e-12)
    assert by_name.std == pytest.approx([float(scaled.std(correction=0))], rel=1e-12)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "own"), [("MNIST", "mnist"), ("FashionMNIST", "fashion-mnist")])
def test_real_images_are_those_of_the_built_in_source(kind: str, own: str, data_root: Path, tmp_path: Path) -> None:
    by_name = opened(data_root, tmp_path, name=f"torchvision.datasets:{kind}")
    built_in = opened(data_root, tmp_path, name=own)
    for part in ("train", "test"):
        assert torch.equal(getattr(by_name, part).images, getattr(built_in, part).images)
        assert torch.equal(getattr(by_name, part).labels, getattr(built_in, part).labels)
    assert by_name.mean == pytest.approx(built_in.mean, abs=1e-4)
    assert by_name.std == pytest.approx(built_in.std, abs=1e-4)


def test_an_argument_that_is_called_split_is_the_class_s_own_where_train_tells_the_parts(tmp_path: Path) -> None:
    written = write_mnist(tmp_path, "EMNIST", ("emnist-letters-train", "emnist-letters-test"))
    data = opened(tmp_path, tmp_path / "cache", name="torchvision.datasets:EMNIST", split="letters")
    assert (data.train.images[:, 0].numpy() == written["emnist-letters-train"]).all()
    assert data.classes[:3] == ("N/A", "a", "b")
    assert "split\n  Field required" in refusal(tmp_path, tmp_path, name="torchvision.datasets:EMNIST")


def write_eurosat(root: Path, count: int = 10) -> None:
    random = np.random.default_rng(0)
    for label in ("Forest", "River", "SeaLake"):
        folder = root / "eurosat" / "2750" / label
        folder.mkdir(parents=True)
        for k in range(count):
            pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{label}_{k}.png")


def test_eurosat_gets_a_test_set_of_every_class(tmp_path: Path) -> None:
    write_eurosat(tmp_path)
    table = {"name": "torchvision.datasets:EuroSAT", "test_fraction": 0.3}
    data = opened(tmp_path, tmp_path / "cache", **table)
    assert (data.title, data.classes, data.shape) == ("EuroSAT", ("Forest", "River", "SeaLake"), (3, 64, 64))
    assert [torch.bincount(part.labels).tolist() for part in (data.train, data.test)] == [[7, 7, 7], [3, 3, 3]]
    files = sorted((tmp_path / "eurosat" / "2750" / "River").iterdir())
    pixels = {np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in files}
    found = {image.numpy().tobytes() for part in (data.train, data.test) for image in part.images[part.labels == 1]}
    assert found == pixels, "every image is in one of both parts, as it is in its file"
    again = opened(tmp_path, tmp_path / "other", **table)
    assert torch.equal(again.test.images, data.test.images)
    other = opened(tmp_path, tmp_path / "cache", **table, split_seed=1)
    assert not torch.equal(other.test.images, data.test.images)
    assert (
        opened(tmp_path, tmp_path / "cache", **{**table, "test_fraction": 0.5}).test.labels.bincount().tolist()
        == [5] * 3
    )
    small = opened(tmp_path, tmp_path / "cache", **table, resize=8, grayscale=True)
    expected = Image.open(files[0]).convert("L").resize((8, 8), Image.Resampling.BILINEAR)
    whole = torch.cat([small.train.images, small.test.images])
    assert small.shape == (1, 8, 8)
    assert any((image[0].numpy() == np.asarray(expected)).all() for image in whole)
    assert "class 0 has 10 images, of which data.source.test_fraction = 0.01 makes 0" in refusal(
        tmp_path, tmp_path, **{**table, "test_fraction": 0.01}
    )


def test_fake_data_need_no_root_and_are_not_kept(tmp_path: Path) -> None:
    data = opened(None, tmp_path, **FAKE)
    theirs = datasets.FakeData(60, (3, 6, 5), 3)
    pixels = {np.asarray(image).transpose(2, 0, 1).tobytes(): label for image, label in theirs}
    whole = [(*pair,) for part in (data.train, data.test) for pair in zip(part.images, part.labels, strict=True)]
    assert {image.numpy().tobytes(): int(label) for image, label in whole} == pixels
    assert data.classes == ("0", "1", "2")
    assert not list(tmp_path.iterdir())
    assert set(check_dataset(FAKE).values()) <= {"passed"}
    assert set(check_dataset("pictures:Stripes").values()) <= {"passed"}


def test_a_scenario_runs_with_a_data_set_beside_it(tmp_path: Path) -> None:
    tree = bases.BASES["plain"]() | {"tasks": {"digit": {"values": ["rows", "columns"]}}, "rounds": 3}
    tree["data"] = {"source": {"name": "pictures:Stripes", "count": 300}, "partition": "iid"}
    done = semfed.run(tree, overrides=LEARNS, out=tmp_path / "run")
    assert next(iter(done.summary["arms"].values()))["final"]["accuracy/average"]["mean"] > 0.9
    again = semfed.run(tree, overrides=LEARNS, out=tmp_path / "again")
    assert (again.folder / "metrics.jsonl").read_bytes() == (done.folder / "metrics.jsonl").read_bytes()
    dark = overrides.load(tree, ["data.source.shade=60"])
    assert dark.digest != overrides.load(tree).digest, "arguments are part of what names an experiment"
    assert Trial(dark, "x", 0).data_key != Trial(overrides.load(tree), "x", 0).data_key


def test_a_function_that_says_what_it_returns_is_as_good_as_a_class(tmp_path: Path) -> None:
    made, named = (opened(None, tmp_path, name=f"pictures:{name}") for name in ("either", "Stripes"))
    assert torch.equal(made.train.images, named.train.images)
    assert (len(made.train), len(made.test), made.classes) == (40, 20, ("rows", "columns"))


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A publisher of three parts, and what it was asked for."""

    def answer(path: str) -> tuple[int, bytes]:
        buffer = BytesIO()
        np.save(buffer, np.random.default_rng(len(path)).integers(0, 256, (12, 4, 4), dtype=np.uint8))
        return 404 if "gone" in path else 200, buffer.getvalue()

    with publisher(answer) as published:
        yield published


def test_nothing_is_fetched_without_leave(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    (url, asked), root = server, tmp_path / "data"
    root.mkdir()
    table = {"name": "pictures:Fetched", "url": url, "test_split": "val"}
    said = refusal(root, tmp_path / "cache", **table)
    assert f"Fetched is not in '{root}' (RuntimeError: Dataset not found." in said
    assert f"fetch {url}/train.npy and whatever belongs to it into '{root}/fetched'" in said
    assert "or allow the download with --set data.download=true" in said
    assert "\n" not in said
    assert asked == []
    assert not list(root.iterdir())
    data = opened(root, tmp_path / "cache", download=True, **table)
    assert asked == ["/train.npy", "/val.npy"]
    assert (data.train.images[:, 0].numpy() == np.load(root / "fetched" / "train.npy")).all()
    assert data.classes == ("0", "1", "2")
    (entry,) = (tmp_path / "cache").iterdir()
    again = opened(root, tmp_path / "cache", download=True, **table)
    assert torch.equal(again.train.images, data.train.images)
    assert asked == ["/train.npy", "/val.npy"], "what is there is not fetched again"
    assert list((tmp_path / "cache").iterdir()) == [entry]


def test_parts_are_named(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    table = {"name": "pictures:Fetched", "url": server[0]}
    by_part = [
        opened(tmp_path, tmp_path / "cache", download=True, **table, train_split=one, test_split=other)
        for one, other in (("train", "test"), ("val", "test"), ("train", "val"))
    ]
    assert torch.equal(by_part[0].train.images, by_part[2].train.images)
    assert torch.equal(by_part[1].train.images, by_part[2].test.images)
    said = refusal(tmp_path, tmp_path / "cache", **table, train_split="trian")
    assert "refuses its arguments or its files (ValueError: Unknown value 'trian' for argument split.)" in said
    (tmp_path / "elsewhere").mkdir()
    assert "Fetched is not in" in refusal(tmp_path, tmp_path / "cache", **table, folder="elsewhere")


def test_a_download_that_fails_fails_soon_and_says_what_to_do(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    table = {"name": "pictures:Fetched", "url": f"{server[0]}/gone"}
    begun = monotonic()
    with pytest.raises(DataError) as told:
        opened(tmp_path, tmp_path / "cache", download=True, **table)
    said = str(told.value)
    assert said.startswith("Fetched: the download failed (HTTPError: HTTP Error 404")
    assert f"fetch {server[0]}/gone/train.npy" in said
    assert said.endswith("by hand")
    assert monotonic() - begun < 5


@pytest.mark.parametrize(
    ("kind", "address", "place"),
    [
        ("EuroSAT", "EuroSAT.zip", "eurosat"),
        ("MNIST", "train-images-idx3-ubyte.gz", "MNIST/raw"),
        ("SVHN", "train_32x32.mat", "."),
        ("STL10", "stl10_binary.tar.gz", "."),
    ],
)
def test_what_torchvision_would_fetch_is_named(kind: str, address: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    said = refusal(tmp_path / "data", tmp_path / "cache", name=f"torchvision.datasets:{kind}")
    assert f"{address} and whatever belongs to it into '{tmp_path / 'data' / place}'" in said
    assert not list((tmp_path / "data").iterdir())


def test_a_root_is_asked_for(tmp_path: Path) -> None:
    assert "needs a data root: give --data-root DIR" in refusal(None, tmp_path, name="torchvision.datasets:EuroSAT")
    assert "put its files into" in refusal(tmp_path, tmp_path / "cache", name="torchvision.datasets:ImageFolder")


REFUSED = [
    ({"kind": "mixed"}, "'Given[0]' is grey and 'Given[1]' is not: set data.source.grayscale to true"),
    ({"kind": "sizes"}, "'Given[1]' has (5, 3) pixels where others have (4, 6): set data.source.resize"),
    ({"kind": "floats"}, "'Given[0]' is an image of type torch.float32: give uint8 from 0 to 255"),
    ({"kind": "boxes"}, "'Given[0]' has a dict for a class where an integer is needed"),
    ({"kind": "several"}, "'Given[0]' has a ndarray for a class where an integer is needed"),
    ({"kind": "unlabelled"}, "'Given[0]' has class -1, so none"),
    ({"kind": "wide"}, "'Given[0]' has 5 channels: give images of one or three"),
    ({"kind": "deep"}, "'Given[0]' has 16 bits a value, of which 8 are kept: set data.source.depth to 'reduce'"),
    ({"kind": "clear"}, "'Given[0]' has transparent pixels: set data.source.background"),
    ({"kind": "empty"}, "Given has no samples"),
    ({"kind": "alone"}, "'Given[0]' cannot be had as an image and its class (TypeError"),
    ({"kind": "fetching"}, "it would fetch http://127.0.0.1:9/images"),
    ({"kind": "numbers"}, "has classes from 0 to 2, but it tells 2 names: set data.source.class_names"),
    ({"kind": "unnamed", "class_names": ["a"]}, "from 0 to 1, but data.source.class_names has 1 names"),
    ({"kind": "synonyms"}, "has two classes that are called 'x'"),
    ({"kind": "parts"}, "its parts have different lists of classes: set data.source.class_names"),
    ({"kind": "nothing"}, "cannot be read here (KeyError: 'nothing'): mend the class, or change its arguments"),
    ({"kind": "mixed", "train": False}, "unknown setting 'train'"),
    ({"kind": "mixed", "test_fraction": 0.3}, "unknown setting 'test_fraction'"),
    ({}, "kind\n  Field required"),
]


@pytest.mark.parametrize(("given", "words"), REFUSED, ids=[str(given) for given, _ in REFUSED])
def test_what_does_not_fit_is_refused_in_one_sentence(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refusal(None, tmp_path, name="pictures:Given", **given)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pictures:Endless", "does not say how many samples it has: give it __len__()"),
        ("torch.utils.data:random_split", "does not say that it makes a Dataset: annotate what it returns"),
        ("torch.nn:Linear", "is none of the datasets: it has no method read()"),
        ("torchvision.datasets:MINST", "cannot be loaded"),
    ],
)
def test_what_is_no_data_set_is_refused(name: str, words: str, tmp_path: Path) -> None:
    assert words in refusal(None, tmp_path, name=name)


@pytest.mark.parametrize(
    ("given", "pixels"),
    [
        ({"kind": "mixed", "grayscale": True}, (1, 4, 6, 90)),
        ({"kind": "mixed", "grayscale": False}, (3, 4, 6, 90)),
        ({"kind": "sizes", "resize": 7}, (3, 7, 7, 10)),
        ({"kind": "deep", "depth": "reduce"}, (1, 4, 6, 3)),
        ({"kind": "clear", "background": 50}, (3, 4, 6, 50)),
    ],
)
def test_what_is_asked_for_is_done(given: dict[str, Any], pixels: tuple[int, ...], tmp_path: Path) -> None:
    data = opened(None, tmp_path, name="pictures:Given", **given)
    assert (*data.shape, int(data.train.images[0, 0, 0, 0])) == pixels


def test_classes_are_named(tmp_path: Path) -> None:
    given = {"name": "pictures:Given", "kind": "unnamed"}
    assert opened(None, tmp_path, **given).classes == ("0", "1")
    assert opened(None, tmp_path, **given, class_names=["left", "right"]).classes == ("left", "right")


def test_a_copy_is_good_for_the_same_files_arguments_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (PLUGINS / "pictures.py").read_text()
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "painted.py").write_text(code)
    (tmp_path / "data" / "fetched").mkdir(parents=True)
    for part in ("train", "test"):
        np.save(tmp_path / "data" / "fetched" / f"{part}.npy", np.full((6, 4, 4), 7, dtype=np.uint8))

    def copies(**given: Any) -> int:
        opened(tmp_path / "data", tmp_path / "cache", name="painted:Fetched", **given)
        return len(list((tmp_path / "cache").iterdir()))

    assert [copies(), copies()] == [1, 1]
    assert copies(url="x") == 2
    np.save(tmp_path / "data" / "fetched" / "test.npy", np.full((6, 4, 4), 8, dtype=np.uint8))
    assert copies() == 3
    (tmp_path / "painted.py").write_text(code + "\n")
    assert copies() == 4


@pytest.mark.long
def test_a_scenario_file_runs_by_the_command_line(tmp_path: Path) -> None:
    write_eurosat(tmp_path / "data", 20)
    tree = bases.BASES["plain"]() | {"tasks": {"digit": {"values": ["Forest", "River"], "rest": "SeaLake"}}}
    source = {"name": "torchvision.datasets:EuroSAT", "resize": 8}
    tree["data"] = {"source": source, "partition": "iid"}
    (tmp_path / "scenario.toml").write_text(tomli_w.dumps(tree))
    words = [
        "run",
        str(tmp_path / "scenario.toml"),
        "--data-root",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "run"),
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "summary.json").is_file()
    (tmp_path / "none").mkdir()
    words[3], words[5] = str(tmp_path / "none"), str(tmp_path / "other")
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "EuroSAT.zip and whatever belongs to it into" in " ".join(result.output.split())
    assert not (tmp_path / "other").exists()


def test_the_listing_is_of_folders_alone() -> None:
    result = CliRunner().invoke(app, ["data", "torchvision.datasets:EuroSAT"])
    assert result.exit_code == 1
    assert "cannot be read: it is no folder of images" in " ".join(result.output.split())


def test_settings_without_an_effect_are_refused() -> None:
    tree = bases.BASES["plain"]() | {"tasks": {"digit": {"values": ["rows", "columns"]}}}
    tree["data"] = {"source": {"name": "pictures:Stripes", "folder": "x"}, "partition": "iid"}
    with pytest.raises(
        ScenarioError, match=r"data.source.folder = 'x' has no effect: 'pictures:Stripes' reads nothing"
    ):
        overrides.load(tree)
    tree["data"] = {"source": "pictures:Stripes", "partition": "iid", "download": True}
    with pytest.raises(ScenarioError, match="data source 'pictures:Stripes' has nothing to download"):
        overrides.load(tree)
