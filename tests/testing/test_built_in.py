"""Every part that comes with the package passes the checks that authors of others get; so do strategies of Flower."""

from pathlib import Path
from typing import Any

import pytest

from semfed.scenario import plugins
from semfed.testing import parametrize_with_checks
from semfed.testing.check import Check
from semfed.testing.parametrize import KITS
from tests.settings import bases

SLIM = {"name": "mlp", "hidden": [6]}
IMAGES = ("mnist", "fashion-mnist", "cifar10")
ON_DISK = ("imagefolder", "npz", "huggingface")
"""Checked in tests of their own, with what they read."""
TASKS = {
    "odd": {"values": {"odd": [1, 3, 5, 7, 9]}, "rest": "even"},
    "large": {"values": [5, 6, 7, 8, 9], "rest": "small"},
}
TWO_TASKS = {"tasks": TASKS, "clients": [{"name": name, "task": "odd"} for name in "abc"]}
FEATURES = {"encoder": {"name": "mlp", "hidden": [8], "outputs": 8}, "decoder": "proportional"}
USER = {
    "name": "aligned-user",
    "pilots": 40,
    "latents": {"name": "trained", "access_point_images": 60},
    "classifier": {"epochs": 1, "lr": 0.05, "batch_size": 20},
}
ANTENNAS = {
    "model": {"encoder": FEATURES["encoder"], "decoder": "latent-classifier"},
    "channel": {"name": "mimo", "uses": 1, "transmit_antennas": 2, "receive_antennas": 2},
}
COOPERATIVE = {
    "name": "cooperative",
    "tasks": list(TASKS),
    "auxiliary": SLIM,
    "specific": {**SLIM, "outputs": 6},
    "common": {"epochs": 1, "outputs": 6},
    "dre": {"centres": 20},
    "rate_samples": 50,
}
NARROW = {"filters": [2, 3, 3, 3]}
PICTURES = {
    "tasks": {"pictures": {"kind": "reconstruction"}},
    "clients": [{"name": name, "task": "pictures"} for name in "abc"],
    "model": {"encoder": {"name": "deepjscc-encoder", **NARROW}, "decoder": {"name": "deepjscc-decoder", **NARROW}},
    "channel": {"name": "awgn", "uses": 4, "symbols": "complex"},
}
ALONE = {"name": "fedavg", "exchange": False}
NUMBERS = {
    "tasks": {"number": {"kind": "regression", "target": "brightness"}},
    "clients": [{"name": name, "task": "number"} for name in "abc"],
    "data": {"source": "measured:Measured"},
}
PARTS: dict[str, list[tuple[Any, dict[str, Any]]]] = {
    "channels": [
        ("awgn", {}),
        ({"name": "awgn", "symbols": "complex", "power": "batch", "snr_db": -5.0}, {}),
        ({"name": "awgn", "power": "none"}, {}),
        ("rayleigh", {}),
        ({"name": "rayleigh", "fading": "block", "receiver": "mmse"}, {}),
        ({"name": "rayleigh", "symbols": "complex", "receiver": "raw"}, {}),
        ({"name": "rayleigh", "symbols": "complex", "receiver": "phase"}, {}),
        ({"name": "rayleigh", "symbols": "complex", "receiver": "mmse", "snr_db": 20.0}, {}),
        ({"name": "rayleigh", "csi_error": 0.1, "snr_spread_db": 3.0}, {}),
        ("rician", {}),
        ({"name": "rician", "k_factor": 3.0, "symbols": "complex", "receiver": "mmse"}, {}),
        ("nakagami", {}),
        ("mimo", {}),
    ],
    "models": [
        ({"name": "mlp", "hidden": [16], "dropout": 0.3}, {}),
        ({"name": "dcgan", "nf": 4}, {}),
        ({"name": "lenet", "channels": [4, 8], "hidden": 16}, {}),
        ({"name": "convnet", "channels": [4, 8]}, {}),
        ({"name": "cnn", "stages": [{"filters": [4], "dropout": 0.3}]}, {}),
        ({"name": "proportional", "fractions": [0.5]}, {"input_shape": (20,)}),
        ("latent-classifier", {"input_shape": (20,)}),
        ({"name": "deepjscc-encoder", **NARROW}, {"outputs": 128}),
        ({"name": "deepjscc-decoder", **NARROW}, {"input_shape": (128,), "outputs": 3072}),
    ],
    "partitions": [
        ("iid", {}),
        ({"name": "iid", "per_client": 20}, {}),
        ({"name": "dirichlet", "alpha": 0.5}, {}),
        ({"name": "dirichlet", "alpha": 0.5, "images": 200}, {}),
        ({"name": "ways-shots", "m": 3, "q": 5}, {}),
        ({"name": "counts", "counts": [[k, 0, 5] for k in range(4)]}, {}),
        ({"name": "pathological", "num_classes_per_partition": 2}, {}),
        ({"name": "pathological", "num_classes_per_partition": 2, "class_assignment_mode": "first-deterministic"}, {}),
        ("shard", {}),
        ({"name": "shard", "shard_size": 7, "keep_incomplete_shard": True}, {}),
        ("exponential", {}),
        ({"name": "exponential", "shuffle": True}, {}),
        ({"name": "natural", "by": "writer"}, {"attributes": {"writer": ["f9", "m1", "f10", "m2"]}}),
        ({"name": "natural", "by": "orbit", "values": "random"}, {"attributes": {"orbit": range(9)}}),
    ],
    "datasets": [
        ("digits", {}),
        ({"name": "compressed", "of": "digits", "bits": 64, "code": "pixels", "parts": "all"}, {}),
    ],
    "strategies": [
        ("fedavg", {}),
        ({"name": "clustered", "clusters": "one", "weighted": True}, {"around": {"learner": "multitask"}}),
        ("fedcl", {"around": {"learner": "split"}}),
        ("fedproto", {"around": {"learner": "split"}}),
        ("alignment", {"around": {"learner": USER, **ANTENNAS}}),
        ("flwr.serverapp.strategy:FedAvg", {}),
        ({"name": "flwr.serverapp.strategy:FedAvgM", "server_momentum": 0.5}, {}),
    ],
    "clients": [
        ("joint", {}),
        ("multitask", {}),
        ("split", {"around": {"strategy": "fedcl"}}),
        ("reconstruction", {"around": PICTURES}),
        ({"name": "digital", "test_images": 3}, {"around": PICTURES | {"strategy": ALONE}}),
        ("regression", {"around": NUMBERS}),
        ({"name": "multi-receiver", "tasks": list(TASKS)}, {"around": TWO_TASKS}),
        (COOPERATIVE, {"around": {**TWO_TASKS, "model": FEATURES}}),
        (USER, {"around": {"strategy": "alignment", **ANTENNAS}}),
    ],
}


def name_of(part: Any) -> str:
    return part if isinstance(part, str) else part["name"]


@pytest.mark.parametrize("group", KITS)
def test_no_part_is_left_out(group: str) -> None:
    own = {name for name, point in plugins.available(group).items() if point.value.startswith("semfed.")}
    given = {name_of(part) for part, _ in PARTS[group]} | ({*IMAGES, *ON_DISK} if group == "datasets" else set())
    assert {name for name in given if ":" not in name} == own


def marks() -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "plugins")  # where the data set of NUMBERS is
        return [
            value
            for group, parts in PARTS.items()
            for part, options in parts
            for value in parametrize_with_checks(group, [part], **options).args[1]
        ]


@pytest.mark.parametrize("check", marks())
def test_built_in(check: Check) -> None:
    check()


@parametrize_with_checks("datasets", [{"name": "imagefolder", "folder": "pictures", "size": 8}])
def test_image_folders(check: Check, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("images")
    bases.write_data(root)
    _at(root, check)


@pytest.mark.long
@parametrize_with_checks("datasets", IMAGES)
def test_real_images(check: Check, data_root: Path) -> None:
    _at(data_root, check)


def _at(root: Path, check: Check) -> None:
    """Run a check with a root that is known while tests run only."""
    found = {own.name: own for own in KITS["datasets"].checks(check.subject.choice.dump(), root=root)}
    found[check.name]()


@pytest.mark.long
@pytest.mark.flower
@parametrize_with_checks("clients", ["multitask"], ray=True)
def test_on_ray(check: Check) -> None:
    if check.name == "ray_gives_the_same_numbers":
        check()
