"""Pictures that come back: what is reported of them, and which scenarios make no sense."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import semfed
from semfed import models
from semfed.data.cache import open_dataset
from semfed.data.dataset import Dataset
from semfed.data.partitions import deal
from semfed.data.sources import Digits
from semfed.errors import ScenarioError, SemfedError
from semfed.runs import networks
from semfed.runs.folder import read_records
from semfed.scenario import overrides
from semfed.scenario.plugins import parse
from semfed.scenario.settings import StrictModel
from semfed.training.weights import restore
from tests.settings import bases
from tests.sources import source

SNRS = [-20.0, 5.0, 40.0]
TRAINED = {"rounds": 4, "training": {"optimizer": "adam", "lr": 0.01, "batch_size": 20}, "data.partition": "iid"}


def tree(**changes: Any) -> Any:
    return bases.scenario("pictures", changes)


@pytest.fixture(scope="module")
def tested(capture: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    changes = TRAINED | {"learner.test_snr_db": SNRS}
    with pytest.MonkeyPatch.context() as patch:
        noted = capture(patch, "awgn")
        run = semfed.run(tree(**changes), out=tmp_path_factory.mktemp("tested") / "run")
    return noted, run


def finals(run: Any) -> dict[str, float]:
    (arm,) = run.summary["arms"].values()
    return {name: entry["mean"] for name, entry in arm["final"].items()}


@pytest.mark.parametrize("snr_db", SNRS)
def test_images_are_tested_in_the_noise_that_is_asked_for(tested: Any, snr_db: float) -> None:
    assert tested[0][snr_db]
    for one in tested[0][snr_db]:
        assert one.sent == pytest.approx(1, abs=1e-4)
        assert one.snr_db == pytest.approx(snr_db, abs=one.tolerance_db)


def test_closeness_rises_with_the_snr_and_beats_the_mean_image(tested: Any) -> None:
    told = finals(tested[1])
    at = [told[f"psnr-at-{snr:g}dB/average"] for snr in SNRS]
    assert at[0] < at[1] < at[2]
    assert at[1] == pytest.approx(told["psnr/average"], abs=0.2)  # the SNR of the training, with other noise
    assert told["psnr/average"] > tested[1].summary["baselines"]["psnr/average"] + 0.3


def test_metrics_are_those_of_the_trained_networks(tmp_path: Path) -> None:
    """Without noise they follow from the weights that the run keeps, computed here from raw pixels."""
    dataset = digits()
    run = semfed.run(tree(**TRAINED, **{"channel.snr_db": math.inf}), out=tmp_path / "run")
    weights, _ = networks.read(networks.place(run.folder, "tiny", 0), 0, "a")
    filters, stream = {"filters": [2, 3, 3, 3]}, (0, "test", 0)
    encoder, decoder = (
        models.build(parse("models", {"name": f"deepjscc-{part}", **filters}), shape, outputs=outputs, stream=stream)
        for part, shape, outputs in (("encoder", (1, 8, 8), 8), ("decoder", (8,), 64))
    )
    for part, network in (("encoder", encoder), ("decoder", decoder)):
        restore(network, weights, f"{part}.")
    with torch.no_grad():
        pixels = dataset.test.images.float() / 255
        sent = encoder((pixels - dataset.mean[0]) / dataset.std[0])
        sent = sent / sent.square().sum(1, keepdim=True).sqrt() * 2  # four complex symbols of unit power
        received = decoder(sent).view_as(pixels)
    errors = (received.double() - pixels.double()).square().flatten(1).mean(1).numpy()
    told = finals(run)
    assert told["mse/average"] == pytest.approx(errors.mean(), rel=1e-4)
    assert told["psnr/average"] == pytest.approx(np.mean(-10 * np.log10(errors)), abs=1e-3)
    assert told["loss/average"] == pytest.approx(errors.mean(), rel=1e-4)
    assert "ssim/average" not in told, "images of 8 x 8 pixels have no SSIM"


def test_the_baseline_is_the_mean_of_the_own_training_images(tmp_path: Path) -> None:
    dataset = digits()
    run = semfed.run(tree(clients=[{"name": "a", "task": "pictures"}], **{"data.partition": "iid"}), out=tmp_path / "r")
    pixels, mean = (dataset.test.images.double() / 255, dataset.train.images.double().mean(0) / 255)
    errors = (mean - pixels).square().flatten(1).mean(1).numpy()
    assert run.summary["baselines"]["psnr/average"] == pytest.approx(np.mean(-10 * np.log10(errors)), abs=1e-3)
    assert run.summary["baselines"]["mse/pictures"] == pytest.approx(errors.mean(), rel=1e-4)


def digits() -> Dataset:
    return open_dataset(Digits(StrictModel()), "digits", None)


SQUARES = source(
    "Squares",
    """
    labels = np.arange(40) % 2
    images = np.zeros((40, 3, 12, 12), np.uint8)
    images[labels == 1, :, 4:, 4:] = 200
    return Decoded("squares", ("0", "1"), (images, labels), (images, labels), mean=(0.0,), std=(1.0,))
    """,
)


def test_images_that_are_large_enough_have_an_ssim(module_beside: Callable[[str, str], Path]) -> None:
    folder = module_beside("squares", SQUARES)
    (folder / "scenario.toml").write_text(tree().to_toml())
    changes = [
        "data.source=squares:Squares",
        "data.partition=iid",
        "channel.uses=18",
        "learner.test_snr_db=[0,30]",
        "rounds=8",
        "training.lr=1",
    ]
    run = semfed.run(folder / "scenario.toml", overrides=changes, out=folder / "run")
    told = finals(run)
    assert -1 <= told["ssim/average"] <= 1
    assert told["ssim-at-0dB/average"] != told["ssim-at-30dB/average"]


def test_one_client_alone_is_the_same_with_and_without_an_exchange(tmp_path: Path) -> None:
    alone = {"clients": [{"name": "pool", "task": "pictures"}], "rounds": 2}
    runs = [
        semfed.run(tree(**alone, **{"strategy.exchange": exchange}), out=tmp_path / f"{exchange}")
        for exchange in (True, False)
    ]
    first, second = (
        [(r.round, r.metric, r.value) for r in read_records(run.folder) if not r.metric.startswith("cost/")]
        for run in runs
    )
    assert first == second


def test_pooled_data_are_the_clients_data_together() -> None:
    labels = np.random.default_rng(0).integers(4, size=400)
    rule = parse("partitions", {"name": "dirichlet", "alpha": 0.3, "images": 102})
    apart, pooled = (deal(rule, labels, tuple("abcd"), count, np.random.default_rng(1)) for count in (5, 1))
    assert np.array_equal(np.sort(np.concatenate(apart)), pooled[0])
    assert np.bincount(labels[pooled[0]]).tolist() == [26, 26, 25, 25]
    assert min(map(len, apart)) < 102 / 5 < max(map(len, apart))


def test_some_test_images_are_taken_at_equal_distances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semfed.clients.reconstruction import ReconstructionClient

    seen, original = [], ReconstructionClient.test_batches

    def noted(self: Any) -> Any:
        seen.append(self.test_samples[0].tolist())
        return original(self)

    monkeypatch.setattr(ReconstructionClient, "test_batches", noted)
    semfed.run(tree(**{"learner.test_images": 7}), out=tmp_path / "run")
    count = len(digits().test)
    assert seen[0] == [k * count // 7 for k in range(7)]
    assert all(rows == seen[0] for rows in seen)


DIGIT = {"kind": "classification", "values": [0, 1], "rest": "x"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"tasks.pictures": DIGIT},
        r"clients.a.task = 'pictures' is a task of classification, but learner 'reconstruction' serves reconstruction: "
        r"set tasks.pictures.kind",
    ),
    ({"learner": "joint"}, "is a task of reconstruction, but learner 'joint' serves classification"),
    ({"tasks.pictures.values": [1, 2]}, r"tasks.pictures.values.* has no effect: .* kind = 'classification'"),
    ({"tasks.pictures.kind": "classification"}, "a task needs at least one named value: set values, or another kind"),
    ({"channel": {"name": "awgn"}}, "channel.uses is unset, but it decides how much of an image is sent"),
    ({"channel.uses": 3}, "6 numbers to send are not: set channel.uses so that it carries a multiple of 4"),
    (
        {"data.validation": 5, "stop": {"patience": 1}, "learner.test_snr_db": [1]},
        "which stop may not let an arm reach",
    ),
    ({"model.decoder": {"name": "mlp", "outputs": 10}}, "outputs = 10, but an image of 64 numbers decides for 64"),
    ({"data.partition": {"name": "dirichlet", "alpha": 1, "images": 5000}}, "images = 5000 takes 500 of class '0'"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_makes_no_sense_is_refused_in_a_sentence(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SemfedError, match=message):
        semfed.run(tree(**changes), out=tmp_path / "run")


def test_tasks_that_a_learner_names_itself_have_to_be_of_its_kind_too() -> None:
    base = bases.BASES["receivers"]()
    named = {"tasks": base["tasks"] | {"pictures": {"kind": "reconstruction"}}}
    learner = {"name": "multi-receiver", "tasks": ["odd", "pictures"]}
    with pytest.raises(ScenarioError, match=r"learner.tasks = 'pictures' is a task of reconstruction, but learner"):
        overrides.load(base | named | {"learner": learner})


def test_an_image_is_no_decision(tmp_path: Path) -> None:
    run = semfed.run(tree(), out=tmp_path / "run")
    with pytest.raises(SemfedError, match="gives images back and decides nothing"):
        run.link()


@pytest.mark.parametrize("strategy", ["flwr.serverapp.strategy:FedAvg", {"name": "clustered", "clusters": "one"}])
def test_other_strategies_average_the_networks_too(strategy: Any, tmp_path: Path) -> None:
    told = finals(semfed.run(tree(strategy=strategy), out=tmp_path / "run"))
    assert told["psnr/average"] == pytest.approx(told["psnr/pictures"])
    assert told["psnr/average"] > 0
