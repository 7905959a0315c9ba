"""The validation split: never trained on, scored by the code of the test, and without a trace where it is off."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import semfed
from semfed.data.dataset import Dataset, ImageSet
from semfed.errors import DataError, ScenarioError
from semfed.events.metrics import declared_in
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.session import Session
from semfed.flower.trial import Trial
from semfed.runs.folder import read_metrics, read_records
from tests.clients import learners

HELD = {"data": {"validation": 0.25}}
LEARNERS = ["multitask", "joint", "split", "cooperative", "multi-receiver"]


def measured(run: Any, starts: str = "", without: str = "cost/") -> dict[tuple[Any, ...], float]:
    records = [r for r in read_records(run.folder) if r.metric.startswith(starts) and not r.metric.startswith(without)]
    return {(r.round, r.client, r.metric.removeprefix(starts)): r.value for r in records}


def test_clients_train_on_what_is_left_and_splits_do_not_depend_on_others() -> None:
    given, plain = learners.scenario("multitask", HELD), learners.scenario("multitask")
    cache, other = ProcessCache(), ProcessCache()
    for client in range(2):
        whole = other.rows(Trial(plain, "a", 0), None, client)
        assert not len(other.validation_rows(Trial(plain, "a", 0), None, client))
        for seed in (0, 1):
            trial = Trial(given, "a", seed)
            train, held = cache.rows(trial, None, client), cache.validation_rows(trial, None, client)
            assert (len(train), len(held)) == (30, 10)
            assert not set(train) & set(held)
            if seed == 0:
                assert sorted([*train, *held]) == list(whole)
    alone = learners.scenario("multitask", HELD, {"strategy": {"name": "clustered", "clusters": "individual"}})
    assert np.array_equal(
        ProcessCache().validation_rows(Trial(alone, "b", 0), None, 1),
        cache.validation_rows(Trial(given, "a", 0), None, 1),
    )


@pytest.mark.parametrize("name", LEARNERS)
def test_a_validation_is_the_test_on_other_images(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set whose test images are a client's validation images gives the same scores, stream for stream."""
    given = learners.scenario(name, HELD, {"rounds": 2, "clients": {"count": 1, "task": "t1"}})
    run = semfed.run(given, out=tmp_path / "run")
    validated = measured(run, "validation/")
    assert any(metric.startswith(("accuracy", "error", "common_error")) for _, _, metric in validated)
    assert any(metric == "loss/average" for _, _, metric in validated)
    rows = ProcessCache().validation_rows(Trial(given, given.name, 0), None, 0)
    opened, draws = ProcessCache.dataset, Session.generator

    def swapped(self: ProcessCache, trial: Trial, root: Any, device: torch.device) -> Dataset:
        whole = opened(self, trial, root, device)
        return replace(whole, test=ImageSet(whole.train.images[rows], whole.train.labels[rows]))

    def own(self: Session, purpose: str, round_: int, *more: int) -> torch.Generator:
        tests = purpose.startswith(("evaluation", "global evaluation"))
        return draws(self, f"validation/{purpose}" if tests and self.split == "test" else purpose, round_, *more)

    monkeypatch.setattr(ProcessCache, "dataset", swapped)
    monkeypatch.setattr(Session, "generator", own)
    tested = measured(semfed.run(given, out=tmp_path / "swapped"), without="validation/")
    assert validated == {key: tested[key] for key in validated}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_validation_changes_no_number_of_the_test(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if clients had been dealt the rest of their images, and nobody had looked at the others."""
    given = learners.scenario(name, HELD, {"rounds": 2})
    run = semfed.run(given, out=tmp_path / "with")
    rest = ProcessCache.rows
    monkeypatch.setattr(ProcessCache, "rows", lambda self, trial, *where: rest(self, Trial(given, "a", 0), *where))
    without = semfed.run(learners.scenario(name, {"rounds": 2}), out=tmp_path / "without")
    assert {r.metric for r in read_records(without.folder) if "validation" in r.metric} == set()
    mine, theirs = measured(run, without="validation/"), measured(without)
    assert {key: value for key, value in mine.items() if not key[2].startswith("cost/")} == theirs
    scheme = [measured(each, "cost/", "cost/simulation_") for each in (run, without)]
    assert {key: value for key, value in scheme[0].items() if not key[2].startswith("validation_")} == scheme[1]


def test_names_and_costs_cannot_be_mistaken(tmp_path: Path) -> None:
    run = semfed.run(learners.scenario("multitask", HELD, {"rounds": 1}), out=tmp_path / "run")
    metrics = read_metrics(run.folder)
    accuracy = metrics.of("validation/accuracy/average")
    assert (accuracy.name, accuracy.better, accuracy.fraction) == ("validation/accuracy", "higher", True)
    assert accuracy.label("validation/accuracy/average") == "average validation accuracy (%)"
    assert accuracy.role == "detail"  # in no table and no figure of scores
    assert metrics.of("validation/loss/average").role == "loss"
    assert metrics.of("accuracy/average").name == "accuracy"
    costs = measured(run, "cost/", "cost/simulation_")
    assert costs[1, "client 1", "validation_channel_uses"] == 8 * 10  # uses an image, images
    assert costs[1, "client 1", "evaluation_channel_uses"] == 8 * 539
    assert 0 < costs[1, "client 1", "validation_bytes_up"] < 300
    assert (1, "client 1", "validation_bytes_down") not in costs  # the model has come down for the test


def test_without_a_split_nothing_is_declared() -> None:
    names = [metric.name for metric in declared_in(learners.scenario("multitask"))]
    assert not [name for name in names if "validation" in name]


def test_who_cannot_be_validated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"data.validation = 0.1: learner 'aligned-user' is tested on the test set"):
        semfed.run("alignment-digits", overrides={"data.validation": 0.1}, out=tmp_path / "a")
    few = {"tasks": {"pair": {"values": [2, 3]}}, "clients": {"task": "pair"}, "data": {"validation": 1}}
    given = learners.scenario("joint", few)
    with pytest.raises(
        DataError, match=r"none of the 1 images that client 'client \d' would be validated on has a value"
    ):
        semfed.run(given, seeds=range(8), out=tmp_path / "b")


@pytest.mark.parametrize("value", ["0", "1.0", "1.5", "-3", "0.0", "true"])
def test_a_split_is_a_share_or_a_number(value: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"data.validation"):
        semfed.run("digits", overrides=[f"data.validation={value}"], out=tmp_path / "run")
