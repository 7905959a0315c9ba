"""Common and specific units: schedule, freezing, caches, arms, on scikit-learn's digits."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, RecordDict
from semfed.clients.cooperative import CooperativeClient

import semfed
from semfed.algorithms.bottleneck import specific_unit
from semfed.algorithms.bottleneck.rate import kl_to_log_uniform
from semfed.channels import ChannelState
from semfed.errors import ScenarioError
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.session import Session
from semfed.flower.trial import Trial
from semfed.runs.folder import read_metrics
from semfed.runs.summary import headline_names
from semfed.scenario.overrides import load
from semfed.training.isolation import isolated

DIGITS = [
    "data.source=digits",
    "rounds=3",
    "learner.common.epochs=4",
    "training.epochs=4",
    "training.batch_size=20",
    "training.lr=0.1",
    "channel.uses=16",
]
QUICK = "training.epochs=1"


@pytest.fixture(autouse=True)
def _as_in_a_client() -> Iterator[None]:
    with isolated():
        yield


def make(arm: str, *overrides: str, cache: ProcessCache | None = None) -> Callable[[], CooperativeClient]:
    """Return what builds the client anew for every message, as the adapter does."""
    trial = Trial(load(load("iopm-mnist", DIGITS), overrides).arm(arm), arm, 0)
    config = {"partition-id": 0, "num-partitions": 1}
    context = Context(run_id=0, node_id=1, node_config=config, state=RecordDict(), run_config={})
    kept = cache or ProcessCache()
    return lambda: CooperativeClient(Session(context, trial, 0, kept, None))


def rounds(client: Callable[[], CooperativeClient], count: int) -> tuple[list[list[Any]], list[dict[str, Any]]]:
    """Play the server: return the parameters and the evaluation after every round."""
    parameters, trained, metrics = client().get_parameters({}), [], []
    for number in range(1, count + 1):
        parameters = client().fit(parameters, {"server-round": number})[0]
        trained.append(parameters)
        metrics.append(client().evaluate(parameters, {"server-round": number})[2])
    return trained, metrics


def equal(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_common_unit_trains_first_and_then_stays_as_it_is() -> None:
    client = make("iopm")
    start = client().get_parameters({})
    trained, metrics = rounds(client, 3)
    assert not equal(start, trained[0])
    assert equal(trained[0], trained[1])
    assert equal(trained[0], trained[2])
    assert set(metrics[0]) == {"common_error/t1", "common_error/t2"}
    assert {"error/t1", "error/t2", "error/average", "rate/t1", "rate/t2"} <= set(metrics[1])
    assert metrics[0]["common_error/t2"] < 0.3
    assert metrics[2]["error/t2"] < 0.75 < client().get_properties({})["baseline/error/t2"]
    assert 0 < metrics[2]["rate/t2"] < np.log(539)


def test_the_channel_adds_noise_of_variance_one() -> None:
    channel = make("iopm")().channel
    x = torch.rand(20_000, 16, generator=torch.Generator().manual_seed(0))
    received = channel(x, ChannelState(torch.Generator().manual_seed(1)))
    assert float((received - x).square().mean()) == pytest.approx(1, abs=0.01)
    assert abs(float(((received - x) * x).mean())) < 0.01


def test_every_image_costs_d_channel_uses_a_task() -> None:
    client = make("iopm")
    parameters = client().fit(client().get_parameters({}), {"server-round": 1})[0]
    _, samples, metrics = client().fit(parameters, {"server-round": 2})
    assert metrics["channel-uses"] == 4 * samples * 2 * 16  # epochs, images, tasks, d


def test_detached_ratio_is_the_explicit_gaussian_prior_bit_for_bit() -> None:
    results = {
        arm: rounds(make(arm, QUICK, "lambda_eff=0.1"), 3)[1] for arm in ("iopm", "iopm-detached", "gaussian-prior")
    }
    assert results["iopm-detached"] == results["gaussian-prior"]
    assert results["iopm"] != results["gaussian-prior"]


def test_what_the_worker_keeps_changes_no_number() -> None:
    warm = ProcessCache()
    rounds(make("gaussian-prior", QUICK, cache=warm), 2)
    rounds(make("iopm", QUICK, "channel.uses=4", cache=warm), 2)
    trained, metrics = rounds(make("iopm", QUICK, cache=warm), 2)
    cold_trained, cold_metrics = rounds(make("iopm", QUICK), 2)
    assert equal(trained[0], cold_trained[0])
    assert metrics == cold_metrics


def test_without_a_common_unit_none_is_trained() -> None:
    client = make("no-cu")
    start = client().get_parameters({})
    trained, metrics = rounds(client, 2)
    assert equal(start, trained[1])
    assert metrics[0] == {}
    assert metrics[1]["error/t1"] <= client().get_properties({})["baseline/error/t1"] + 0.01


@pytest.mark.parametrize(
    ("arm", "setting"),
    [
        ("iopm", "arms.iopm.learner.prior=mixture"),
        ("iopm", "learner.heads=linear"),
        ("iopm-logistic", "arms.iopm-logistic.learner.dre.samples=200"),
        *((f"log-uniform-{alpha}", "learner.heads=bounded") for alpha in ("prior", "channel", "encoder")),
    ],
)
def test_options_run(arm: str, setting: str) -> None:
    assert np.isfinite(rounds(make(arm, QUICK, setting), 2)[1][1]["rate/t2"])


def test_the_estimate_of_the_rate_lies_between_its_bounds() -> None:
    found = rounds(make("iopm", QUICK), 2)[1][1]
    for task in ("t1", "t2"):
        assert found[f"rate-lower/{task}"] < found[f"rate/{task}"] < found[f"rate-upper/{task}"]


@pytest.mark.parametrize("snr_db", [0.0, 6.0])
def test_alpha_by_channel_takes_the_channels_own_noise_variance(snr_db: float) -> None:
    """At the SNR and x = 1 it is the KL at alpha = 10^(-snr / 10): 0.43124 at 0 dB, 1.00000 at 6.0206 dB."""
    client = make("log-uniform-channel", f"channel.snr_db={snr_db}")()
    link = client._link("t2")
    cost, _ = specific_unit.penalty(link, client._draw, torch.empty(0), client.settings, torch.Generator())
    x = torch.ones(1, 16)
    expected = kl_to_log_uniform(torch.tensor(10 ** (-snr_db / 10), dtype=torch.float64))
    assert float(cost(x, x, x)) == pytest.approx(16 * float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["arms.iopm.learner.alpha=encoder"],
            "learner.alpha = 'encoder' has no effect: it belongs to prior = 'log-uniform'",
        ),
        (
            ["arms.iopm.learner.dre.gamma=1.0"],
            "learner.dre.gamma = 1.0 has no effect: it belongs to method = 'logistic'",
        ),
        (["arms.gaussian-prior.learner.dre.centres=9"], "dre.centres = 9 has no effect: prior 'gaussian'"),
        (["arms.gaussian-prior.learner.dre_grad=detach"], "it belongs to prior = 'implicit', and prior is 'gaussian'"),
        (["channel.snr_db=inf"], "learner.alpha = 'channel' is a noise variance"),
    ],
)
def test_a_setting_without_effect_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(message)):
        load("iopm-mnist", overrides)


def test_interleaved_trains_both_in_every_round() -> None:
    trained, metrics = rounds(make("iopm", QUICK, "learner.schedule=interleaved"), 2)
    assert not equal(trained[0], trained[1])
    assert {"common_error/t1", "error/t1"} <= set(metrics[0])


def test_settings_that_cannot_work_are_refused_with_the_remedy() -> None:
    with pytest.raises(ScenarioError, match="leaves none of 1 rounds"):
        load(load("iopm-mnist", DIGITS), "rounds=1")
    with pytest.raises(ScenarioError, match="unknown task 't3'"):
        load("iopm-mnist", ['learner.tasks=["t1", "t3"]'])


def test_federated_arms_differ_and_report_errors(tmp_path: Path) -> None:
    small = load("iopm-federated", ["learner.common.rounds=1", *DIGITS])
    overrides = [QUICK, "rounds=2", 'data.partition={ name = "iid" }']
    arms = ["unclustered", "individual"]
    run = semfed.run(small, arms=arms, seeds=[0], overrides=overrides, out=tmp_path / "run")
    errors = [run.summary["arms"][arm]["final"]["error/t2"]["mean"] for arm in arms]
    assert errors[0] != errors[1]
    assert run.summary["baselines"]["error/t2"] == pytest.approx(0.9, abs=0.02)
    assert headline_names(run.summary, read_metrics(run.folder)) == ["error/t1", "error/t2", "error/average"]


def test_a_cluster_of_one_is_individual_training(tmp_path: Path) -> None:
    def final(clusters: str) -> dict[str, Any]:
        overrides = [QUICK, f"strategy.clusters={clusters}"]
        run = semfed.run(load("iopm-mnist", DIGITS), arms=["iopm"], overrides=overrides, out=tmp_path / clusters)
        found = run.summary["arms"]["iopm"]["final"]
        return {name: value for name, value in found.items() if not name.startswith("cost/")}

    assert final("one") == final("individual")
