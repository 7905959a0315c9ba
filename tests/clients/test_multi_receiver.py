"""One transmitter and its receivers: physics first, then weights and tasks, then a short run on digits."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Context, RecordDict
from semfed.clients.multi_receiver import MultiReceiverClient, half_of
from semfed.clients.scores import TEST_SNRS

import semfed
from semfed.channels import ChannelState
from semfed.channels.rayleigh import Rayleigh
from semfed.errors import ScenarioError
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.session import Session
from semfed.flower.trial import Trial
from semfed.report import plots
from semfed.runs.folder import read_metrics
from semfed.scenario.overrides import load
from semfed.training.isolation import isolated

DIGITS = ["data.source=digits", "training.batch_size=32", "training.epochs=4", "training.lr=0.003"]


@pytest.fixture(autouse=True)
def _as_in_a_client() -> Iterator[None]:
    with isolated():
        yield


def make(arm: str, *overrides: str) -> Callable[[], MultiReceiverClient]:
    trial = Trial(load(load("mtoc-mnist", DIGITS), overrides).arm(arm), arm, 0)
    config = {"partition-id": 0, "num-partitions": 1}
    context = Context(run_id=0, node_id=1, node_config=config, state=RecordDict(), run_config={})
    cache = ProcessCache()
    return lambda: MultiReceiverClient(Session(context, trial, 0, cache, None))


def trained(client: Callable[[], MultiReceiverClient]) -> dict[str, Any]:
    parameters, _, told = client().fit(client().get_parameters({}), {"server-round": 1})
    return {**told, **client().evaluate(parameters, {"server-round": 1})[2]}


@pytest.mark.parametrize("fading", ["symbol", "block"])
@pytest.mark.parametrize("symbols", ["real", "complex"])
def test_fading_has_unit_power_and_noise_the_requested_snr(fading: str, symbols: str) -> None:
    settings = {"uses": 20, "fading": fading, "symbols": symbols}
    x = torch.randn(40_000, 20 if symbols == "real" else 40, generator=torch.Generator().manual_seed(0))
    quiet = Rayleigh(Rayleigh.Settings(snr_db=math.inf, **settings))
    noisy = Rayleigh(Rayleigh.Settings(snr_db=3.0, **settings))
    faded, received = (c(x, ChannelState(torch.Generator().manual_seed(1))) for c in (quiet, noisy))
    sent = quiet.transmit(x, ChannelState(torch.Generator()))
    per_symbol = 1 if symbols == "real" else 2
    assert float(sent.square().mean()) * per_symbol == pytest.approx(1, abs=1e-4)
    assert float(faded.square().mean() / sent.square().mean()) == pytest.approx(1, abs=0.02)
    snr = 10 * math.log10(float(sent.square().mean() / (received - faded).square().mean()))
    assert snr == pytest.approx(3, abs=0.1)


def test_the_transmitter_keeps_its_power_and_a_broadcast_counts_once() -> None:
    metrics = trained(make("mtoc"))
    assert metrics["power/transmit"] == pytest.approx(1, abs=1e-4)
    assert metrics["power/raw"] != pytest.approx(1, abs=0.1)
    assert (metrics["uses_per_image/broadcast"], metrics["uses_per_image/one-by-one"]) == (20, 40)
    assert metrics["channel-uses"] == 539 * 20
    assert trained(make("mtoc", "channel.power=none"))["power/transmit"] != pytest.approx(1, abs=0.1)


def test_both_receivers_learn_and_stoc_serves_one() -> None:
    mtoc, stoc = trained(make("mtoc")), trained(make("stoc-2"))
    assert min(mtoc["accuracy/t1"], mtoc["accuracy/t2"]) > 0.85
    assert stoc["accuracy/t2"] > 0.85 > 0.7 > stoc["accuracy/t1"]
    assert mtoc["accuracy/average"] == pytest.approx((mtoc["accuracy/t1"] + mtoc["accuracy/t2"]) / 2)


def test_a_receiver_of_weight_zero_is_not_trained() -> None:
    client = make("stoc-1")

    def kept() -> list[dict[str, torch.Tensor]]:
        nets = client()._load(client().get_parameters({}), client().session.load("training") or {})
        return [{name: value.clone() for name, value in decoder.state_dict().items()} for decoder in nets.decoders]

    before = kept()
    client().fit(client().get_parameters({}), {"server-round": 1})
    same = [all(torch.equal(a[name], b[name]) for name in a) for a, b in zip(before, kept(), strict=True)]
    assert same == [False, True]


def test_unequal_receivers_hear_unequally() -> None:
    metrics = trained(make("mtoc", "snr_offset_db.t1=-20"))
    assert metrics["accuracy/t1"] < metrics["accuracy/t2"] - 0.1
    channels = make("mtoc", "snr_offset_db.t1=-20")().channels
    assert [c.settings.snr_db for c in channels] == [-17, 3]


def test_further_snr_points_of_a_trained_system() -> None:
    metrics = trained(make("mtoc", "learner.test_snr_db=[-20, 3, 30]"))
    assert metrics["accuracy-at--20dB/average"] + 0.1 < metrics["accuracy-at-3dB/average"]
    assert metrics["accuracy-at-3dB/average"] == pytest.approx(metrics["accuracy/average"], abs=0.05)
    assert metrics["accuracy-at-30dB/t1"] > 0.85


def test_further_snr_points_are_one_curve_of_the_run(tmp_path: Path) -> None:
    overrides = ["training.epochs=1", "learner.test_snr_db=[-10, 10]"]
    run = semfed.run(load("mtoc-mnist", DIGITS), arms=["mtoc"], seeds=[0], overrides=overrides, out=tmp_path / "run")
    metrics = read_metrics(run.folder)
    members = plots.family(run.summary, metrics, TEST_SNRS)
    assert members == {-10: "accuracy-at--10dB/average", 10: "accuracy-at-10dB/average"}
    (axes,) = plots.figures(run.folder)["accuracy-vs-test-snr"]().axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("test SNR (dB)", "average accuracy (%)")


def test_receivers_five_apart_decide_complements() -> None:
    classes = tuple("0123456789")
    chosen = [set(half_of(classes, i).named["in"]) for i in range(10)]
    assert chosen[0] == set("01234")
    assert chosen[7] == set("78901")
    assert all(chosen[i] | chosen[i + 5] == set(classes) for i in range(5))
    assert all(not chosen[i] & chosen[i + 5] for i in range(5))


def test_many_receivers_have_names_and_equal_weights() -> None:
    client = make("mtoc", "receivers=4")
    assert client().settings.shares == (0.25,) * 4
    metrics = trained(client)
    assert all(metrics[f"accuracy/t{i}"] > 0.75 for i in range(1, 5))
    assert metrics["uses_per_image/one-by-one"] == 80


def test_weights_given_as_one_number_or_too_few() -> None:
    assert make("mtoc", "weights=0.1")().settings.shares == (0.1, 0.9)
    assert make("stoc-1", "receivers=3")().settings.shares == (1, 0, 0)
    with pytest.raises(ScenarioError, match="for 2 receivers"):
        load("mtoc-mnist", ["weights=[0.2, 0.3, 0.5]"])
    with pytest.raises(ScenarioError, match="unknown task"):
        load("mtoc-mnist", ['learner.tasks=["t1", "t9"]'])
    with pytest.raises(ScenarioError, match="no receiver has this task"):
        make("mtoc", "learner.snr_offset_db={ t9 = 1.0 }")().get_properties({})


def test_convolutional_encoder_with_dropout_is_reproducible() -> None:
    stages = "model.encoder={ name = 'cnn', stages = [{ filters = [4], dropout = 0.5 }], hidden = [16] }"
    one, other = (trained(make("mtoc", stages, "training.epochs=1")) for _ in range(2))
    assert one == other


def test_federated_arms(tmp_path: Path) -> None:
    overrides = [*DIGITS, "rounds=2", 'data.partition={ name = "iid" }', "seeds=[0]"]
    run = semfed.run("mtoc-federated", overrides=overrides, out=tmp_path / "run")
    means = {arm: found["final"]["accuracy/average"]["mean"] for arm, found in run.summary["arms"].items()}
    assert means["unclustered"] != means["individual"]
    assert min(means.values()) > 0.6
    assert set(run.summary["baselines"]) == {"accuracy/t1", "accuracy/t2", "accuracy/average"}
