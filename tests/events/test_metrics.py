"""Declarations, their names, and how they combine values; by hand."""

import math

import pytest
from semfed.clients.cooperative import CooperativeClient
from semfed.clients.joint import JointClient
from semfed.clients.multitask import MultitaskClient
from semfed.strategies.clustered import ClusteredStrategy

from semfed.errors import FederationError, ScenarioError
from semfed.events.metrics import FAILURE, FRAMEWORK, Metric, Metrics, declared_by, declared_in
from semfed.scenario import overrides

SNR = Metric("snr/received-db", "dB", over_clients="power-mean")
FAMILY = Metric("accuracy-at-{}dB", fraction=True)


@pytest.mark.parametrize(
    ("recorded", "name"),
    [
        ("accuracy/t1", "accuracy"),
        ("accuracy/task/with/slashes", "accuracy"),
        ("accuracy", "accuracy"),
        ("accuracy-at--2.5dB/own-classes", "accuracy-at-{}dB"),
        ("accuracy-at-1e+02dB/average", "accuracy-at-{}dB"),
        ("accuracy-at-xdB/average", None),
        ("snr/received-db/t1", "snr/received-db"),
        ("snr/other", None),
        ("accuracies/t1", None),
        ("cost/bytes_up", "cost/bytes_up"),
        ("cost/energy", None),
        ("failure/train.forward", "failure"),
        ("privacy/epsilon", "privacy/epsilon"),
    ],
)
def test_a_recorded_name_is_of_the_declaration_with_most_parts(recorded: str, name: str | None) -> None:
    found = Metrics([*FRAMEWORK, Metric("accuracy", fraction=True), SNR, FAMILY]).find(recorded)
    assert (None if found is None else found.name) == name


def test_members_of_a_family_have_numbers() -> None:
    metrics = Metrics([FAMILY])
    assert [metrics.number(f"accuracy-at-{x}dB/average") for x in ("-2.5", "10", "inf")] == [-2.5, 10, math.inf]
    assert [FAMILY.part(name) for name in ("accuracy-at-5dB", "accuracy-at-5dB/own/x")] == ["", "own/x"]


@pytest.mark.parametrize(
    ("over_clients", "values", "whole", "value"),
    [
        ("mean", [1.0, 2.0, 6.0], "average", 3.0),
        ("sum", [1.0, 2.0, 6.0], "total", 9.0),
        ("power-mean", [0.0, 20.0], "average", 10 * math.log10(50.5)),
        ("power-mean", [-math.inf, -math.inf], "average", -math.inf),
        ("power-mean", [0.0, math.inf], "average", math.inf),
    ],
)
def test_values_of_clients_make_one(over_clients: str, values: list[float], whole: str, value: float) -> None:
    metric = Metric("x", over_clients=over_clients)  # type: ignore[arg-type]
    assert (metric.whole, metric.over(values)) == (whole, pytest.approx(value))


def test_what_has_no_value_over_clients_has_no_name_for_it() -> None:
    assert Metric("x", over_clients="none").whole is None


def test_the_best_is_finite_and_follows_the_direction() -> None:
    values = {"a": math.nan, "b": 2.0, "c": 1.0, "d": math.inf, "e": 1.0}
    assert Metric("x", better="higher").best(values) == "b"
    assert Metric("x", better="lower").best(values) == "c"
    assert Metric("x").best(values) is None
    assert Metric("x", better="lower").best({"a": math.nan}) is None


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        (Metric("x", fraction=True), 0.04, "0.04"),
        (Metric("x", fraction=True), 12.345, "12.35"),
        (Metric("x"), 12.345, "12.35"),
        (Metric("x"), 0.0, "0.00"),
        (Metric("x"), 0.012345, "0.0123"),
        (Metric("x"), -1e-5, "-1e-05"),
        (Metric("x", unit="dB"), 0.003344, "0.00"),
        (Metric("x"), math.nan, "nan"),
    ],
)
def test_small_numbers_keep_three_digits(metric: Metric, value: float, text: str) -> None:
    assert f"{value:{metric.spec(value)}}" == text


def test_declarations_that_contradict_themselves_or_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="'x' is a fraction, which is read in percent: leave unit out"):
        Metric("x", "dB", fraction=True)
    with pytest.raises(ValueError, match="Input should be 'higher' or 'lower'"):
        Metric("x", better="up")  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match=r"metric 'x' is declared in two ways, .*: rename one, or run these arms"):
        Metrics([Metric("x"), Metric("y"), Metric("x", "dB")])


def test_a_class_adds_to_its_bases_and_overrules_them() -> None:
    class Own(MultitaskClient):
        metrics = (Metric("psnr", "dB"), Metric("accuracy"))

    told = {metric.name: metric for metric in declared_by(Own) or ()}
    scores = ["accuracy", "balanced-accuracy", "f1", "psnr"]
    assert list(told) == ["train_loss", "power/transmit", "snr/received-db", *scores]
    assert (told["accuracy"].fraction, told["psnr"].unit) == (False, "dB")
    assert declared_by(dict) is None
    assert [metric.name for metric in declared_by(JointClient) or ()][-1] == "accuracy-at-{}dB"


def test_what_is_not_declared_is_refused_of_who_declares_and_a_plain_number_of_who_does_not() -> None:
    metrics = Metrics(FRAMEWORK)
    told = (
        r"ClusteredStrategy reports 'x/y', which it does not declare: add Metric\('x', \.\.\.\) to its class attribute"
    )
    with pytest.raises(FederationError, match=told):
        metrics.require("x/y", ClusteredStrategy)
    assert metrics.require("x/y", dict) == Metric("x", role="detail")
    assert metrics.require("failure/train", ClusteredStrategy) == FAILURE


def test_arms_agree_on_what_a_metric_is() -> None:
    scenario = overrides.load("digits")
    names = [metric.name for metric in declared_in(*map(scenario.arm, scenario.arm_names))]
    assert len(names) == len(set(names))
    assert set(names) == {m.name for m in (*FRAMEWORK, *(declared_by(MultitaskClient) or ()))}


def test_customary_headlines_are_scores() -> None:
    scenario = overrides.load("digits").arm("clustered")
    parts = ("average", "t1", "t2", "t3")
    ours = tuple(f"{score}/{part}" for score in ("accuracy", "balanced-accuracy", "f1") for part in parts)
    assert MultitaskClient.headlines(scenario) == ours

    class Own(MultitaskClient):
        metrics = (Metric("psnr", "dB", over_clients="none"),)

    assert Own.headlines(scenario)[len(ours) :] == ("psnr/t1", "psnr/t2", "psnr/t3")
    assert "rate/t1" not in {m.name for m in CooperativeClient.metrics if m.role == "score"}
