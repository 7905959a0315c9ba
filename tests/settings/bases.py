"""Tiny scenarios, one for every kind of system, in which single settings are changed."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semfed.scenario import overrides

DIGITS = {"values": list(range(10))}
HALVES = {
    "odd": {"values": {"odd": [1, 3, 5, 7, 9]}, "rest": "even"},
    "large": {"values": [5, 6, 7, 8, 9], "rest": "s"},
}
PASSES = np.repeat(["one", "two", "three", "four"], [8, 14, 6, 12])


def _plain() -> dict[str, Any]:
    """Two clients, one task, one round of one epoch; learner and strategy are to be added."""
    return {
        "name": "tiny",
        "rounds": 1,
        "seeds": [0],
        "checkpoint_every": 0,
        "data": {"source": "digits", "partition": {"name": "iid", "per_client": 40}},
        "tasks": {"digit": DIGITS},
        "clients": [{"name": name, "task": "digit"} for name in ("a", "b", "c")],
        "model": {"encoder": {"name": "mlp", "hidden": [8]}, "decoder": {"name": "mlp", "hidden": [6]}},
        "channel": {"name": "awgn", "uses": 4, "snr_db": 5.0},
        "training": {"batch_size": 20, "lr": 0.1},
        "learner": "multitask",
        "strategy": {"name": "clustered", "clusters": "one"},
    }


def _cooperative() -> dict[str, Any]:
    learner = {
        "name": "cooperative",
        "tasks": ["odd", "large"],
        "auxiliary": {"name": "mlp", "hidden": [6]},
        "specific": {"name": "mlp", "hidden": [6], "outputs": 6},
        "common": {"epochs": 1, "outputs": 6},
        "dre": {"centres": 20},
        "rate_samples": 50,
    }
    clients = [{"name": "a", "task": "odd"}]
    tables = {"tasks": HALVES, "learner": learner, "clients": clients, "rounds": 3}
    model = {"encoder": {"name": "mlp", "hidden": [8], "outputs": 8}, "decoder": {"name": "proportional"}}
    return _plain() | tables | {"model": model, "channel": {"name": "awgn", "uses": 4, "power": "none", "snr_db": 5.0}}


def _alignment() -> dict[str, Any]:
    learner = {
        "name": "aligned-user",
        "pilots": 40,
        "classifier": {"epochs": 1, "lr": 0.05, "batch_size": 20, "optimizer": "adam"},
    }
    learner["latents"] = {"name": "trained", "access_point_images": 60}
    clients = [{"name": "a", "task": "digit"}, {"name": "b", "task": "digit", "encoder": {"name": "mlp", "outputs": 6}}]
    model = {"encoder": {"name": "mlp", "hidden": [8], "outputs": 8}, "decoder": "latent-classifier"}
    channel = {"name": "mimo", "uses": 1, "transmit_antennas": 2, "receive_antennas": 2}
    tables = {"learner": learner, "clients": clients, "model": model, "channel": channel, "strategy": "alignment"}
    return _plain() | tables | {"rounds": 2}


def _personal(learner: Any, strategy: Any) -> dict[str, Any]:
    data = {"source": "digits", "partition": {"name": "ways-shots", "m": 3, "q": 10}}
    channel = {"name": "awgn", "uses": 4, "symbols": "complex", "snr_db": 5.0}
    return _plain() | {"data": data, "learner": learner, "strategy": strategy, "channel": channel}


def _fading() -> dict[str, Any]:
    return _plain() | {"channel": {"name": "rayleigh", "uses": 4, "symbols": "complex", "snr_db": 5.0}}


def _receivers() -> dict[str, Any]:
    learner = {"name": "multi-receiver", "tasks": ["odd", "large"]}
    clients = [{"name": "a", "task": "odd"}, {"name": "b", "task": "odd"}]
    return _plain() | {"tasks": HALVES, "learner": learner, "clients": clients}


def _pictures() -> dict[str, Any]:
    """Pictures of 8 x 8 pixels that are to come back: feature maps of 2 x 2 numbers."""
    clients = [{"name": name, "task": "pictures"} for name in ("a", "b", "c")]
    tables = {"tasks": {"pictures": {"kind": "reconstruction"}}, "clients": clients}
    filters = {"filters": [2, 3, 3, 3]}
    model = {"encoder": {"name": "deepjscc-encoder", **filters}, "decoder": {"name": "deepjscc-decoder", **filters}}
    channel = {"name": "awgn", "uses": 4, "symbols": "complex", "snr_db": 5.0}
    parts = {"model": model, "channel": channel, "learner": "reconstruction", "strategy": "fedavg"}
    return _plain() | tables | parts


def _digital() -> dict[str, Any]:
    """JPEG within some 100 bits."""
    learner = {"name": "digital", "test_images": 6}
    channel = {"name": "awgn", "uses": 48, "symbols": "complex", "snr_db": 5.0}
    strategy = {"name": "fedavg", "exchange": False}
    return _pictures() | {"learner": learner, "channel": channel, "strategy": strategy}


def _compressed() -> dict[str, Any]:
    """Pictures of 8 x 8 coloured pixels, sent as JPEG."""
    folder = {"name": "imagefolder", "folder": "pictures", "size": 8}
    source = {"name": "compressed", "of": folder, "bits": 150}
    return _images() | {"data": {"source": source, "partition": "iid"}}


def _images() -> dict[str, Any]:
    tables = {"data": {"source": {"name": "imagefolder", "folder": "pictures", "size": 8}, "partition": "iid"}}
    return _plain() | tables | {"tasks": {"digit": {"values": ["left", "right"]}}}


def _arrays() -> dict[str, Any]:
    return _images() | {"data": {"source": {"name": "npz", "file": "pictures.npz"}, "partition": "iid"}}


def _two_tasks() -> dict[str, Any]:
    """Tasks that overlap, so that clusters are something to find."""
    tasks = {
        "two": {"values": [2], "rest": "x"},
        "few": {"values": [1, 2], "rest": "x"},
        "six": {"values": [6], "rest": "x"},
    }
    clients = [{"name": name, "task": task} for name, task in zip("abc", tasks, strict=True)]
    strategy = {"name": "clustered", "clusters": "similarity"}
    data = {"source": "digits", "partition": {"name": "dirichlet", "alpha": 5.0}}
    return _plain() | {"tasks": tasks, "clients": clients, "strategy": strategy, "data": data}


BASES = {
    "plain": _plain,
    "fading": _fading,
    "clusters": _two_tasks,
    "images": _images,
    "arrays": _arrays,
    "fedavg": lambda: _personal("joint", "fedavg"),
    "fedcl": lambda: _personal("split", "fedcl"),
    "fedproto": lambda: _personal("split", "fedproto") | {"rounds": 2},
    "cooperative": _cooperative,
    "receivers": _receivers,
    "alignment": _alignment,
    "pictures": _pictures,
    "digital": _digital,
    "compressed": _compressed,
}


def scenario(name: str, changes: dict[str, Any]) -> Any:
    """Return a base with changes."""
    return overrides.load(BASES[name](), changes)


def _difficult(pixels: Any) -> dict[str, Image.Image]:
    """Return a picture in the forms that are refused unless the scenario says what becomes of them."""
    clear = np.concatenate([pixels, pixels[:, :, :1]], axis=2)
    deep = pixels[:, :, 0].astype(np.uint16) * 257
    return {"clear": Image.fromarray(clear), "deep": Image.fromarray(deep), "nested": Image.fromarray(pixels)}


def write_data(root: Path) -> None:
    """Write what the bases read: pictures in folders, unsplit and split, and latents."""
    random = np.random.default_rng(0)
    for folder, count in (("pictures", 12), ("others/train", 9), ("others/test", 3)):
        for label, side in (("left", slice(0, 5)), ("right", slice(5, 10))):
            (root / folder / label).mkdir(parents=True)
            for k in range(count):
                pixels = random.integers(0, 90, (10, 10, 3), dtype=np.uint8)
                pixels[:, side, k % 3] += 120
                Image.fromarray(pixels).save(root / folder / label / f"{k}.png")
                for name, picture in _difficult(pixels).items():
                    place = root / name / label / ("inner" if name == "nested" else ".")
                    place.mkdir(parents=True, exist_ok=True)
                    picture.save(place / f"{folder.replace('/', '-')}-{k}.png")
    source = random.standard_normal((120, 8))
    for name in ("ap", "a", "b", "c"):
        latents = np.tanh(source @ random.standard_normal((8, 8))).astype(np.float32)
        labels = {"train_labels": np.arange(80) % 10, "test_labels": np.arange(40) % 10}
        np.savez(root / f"{name}.npz", train=latents[:80], test=latents[80:], **labels)
    for name in ("pictures", "others"):
        arrays = random.integers(0, 256, (40, 8, 8), dtype=np.uint8)
        named = {"labels": np.arange(40) % 2, "classes": np.array(["left", "right"])}
        attributes = {"attribute_orbit": np.arange(40) // 11, "attribute_pass": PASSES}
        np.savez(root / f"{name}.npz", images=arrays, **named, **attributes)
