"""The engine benchmark measures what it says: all implementations do the same work on the same data."""

import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import semfed
from semfed import overrides, seeding, training
from semfed.models import build

FOLDER = Path(__file__).parents[2] / "benchmarks" / "engines"
CLIENTS = 20


@pytest.fixture
def workload(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as the benchmark's processes see it."""
    return module("workload", monkeypatch)


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(FOLDER)
    for known in [m for m, found in sys.modules.items() if str(getattr(found, "__file__", "")).startswith(str(FOLDER))]:
        monkeypatch.delitem(sys.modules, known)
    return __import__(name)


@pytest.fixture
def few_images(tmp_path: Path) -> Path:
    """A data root with as many images as 20 clients need: noise in MNIST's format."""
    generator = np.random.default_rng(0)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", CLIENTS * 60), ("t10k", 100)):
        images = generator.integers(256, size=(count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        header = struct.pack(">4I", 0x00000803, *images.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x00000801, count) + labels.tobytes())
    return tmp_path


def test_streams_are_those_of_the_library(workload: ModuleType) -> None:
    scenario = overrides.load(FOLDER / "mnist-1000.toml").arm("W1")
    assert (scenario.seeds, len(scenario.clients)) == ((workload.SEED,), workload.CLIENTS)
    for client, round_ in ((0, 1), (999, 7)):
        generator = seeding.torch_generator(workload.SEED, "minibatches", client, round_)
        batches = training.minibatches(workload.IMAGES, scenario.training, generator)
        assert torch.equal(torch.cat(batches), workload.shuffle(client, round_))
    encoder = build(scenario.model.encoder, (1, 28, 28), outputs=64, stream=(workload.SEED, "encoder", 0))
    decoder = build(scenario.model.decoder, (64,), outputs=10, stream=(workload.SEED, "decoder", 0))
    expected = [*encoder.parameters(), *decoder.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(workload.initial(), expected, strict=True))


@pytest.mark.parametrize("processes", [1, 2])
def test_the_hand_written_loop_ends_where_semfed_ends(
    few_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    plain = module("plain_loop", monkeypatch)
    data = plain.workload.load(few_images)
    seconds, model = plain.run(data, sampled=4, rounds=2, processes=processes)
    assert len(seconds) == 2
    run = semfed.run(
        FOLDER / "mnist-1000.toml",
        arms=["W1"],
        overrides=[f"clients.count={CLIENTS}", "arms.W1.rounds=2", "arms.W1.strategy.fraction_train=0.2"],
        data_root=few_images,
        out=tmp_path / "run",
    )
    (file,) = (run.folder / "parameters").iterdir()
    kept = load_file(file)
    order = module("semfed_engines", monkeypatch).by_layer
    for ours, theirs in zip([kept[name] for name in sorted(kept, key=order)], plain.views(model), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
