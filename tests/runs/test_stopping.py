"""The best round and early stopping, both by the validation split, against rules by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed.errors import ScenarioError
from semfed.events.best_round import BestRound
from semfed.events.callbacks import Callback
from semfed.events.metrics import Metric
from semfed.runs.folder import read_json, read_records
from tests.clients import learners

UP, DOWN = Metric("accuracy", better="higher"), Metric("loss", better="lower")


def followed(values: list[float], metric: Metric = UP, **rule: Any) -> tuple[int, int | None]:
    """Return the best round, and the round after which it is time to stop."""
    best, stopped = BestRound(metric, "validation/x", **rule), None
    for round_, value in enumerate(values, start=1):
        best.take(round_, value)
        if best.stops:
            stopped = round_
            break
    return best.round, stopped


@pytest.mark.parametrize(
    ("values", "rule", "expected"),
    [
        ([0.1, 0.3, 0.2, 0.4], {}, (4, None)),
        ([0.1, 0.3, 0.3, 0.2], {}, (2, None)),  # the first of equal ones
        ([0.1, 0.3, 0.2, 0.1, 0.9], {"patience": 2}, (2, 4)),
        ([0.1, 0.3, 0.3, 0.3, 0.9], {"patience": 2}, (2, 4)),  # as good is no improvement
        ([0.5, 0.53, 0.56, 0.58], {"patience": 2, "min_delta": 0.05}, (4, None)),  # 0.56 is 0.06 above 0.5
        ([0.5, 0.53, 0.54, 0.58], {"patience": 2, "min_delta": 0.05}, (3, 3)),  # small gains make a best round only
        ([math.nan, 0.2, math.inf, math.nan], {"patience": 2}, (2, 4)),
        ([math.nan, math.nan], {"patience": 2}, (0, 2)),
    ],
)
def test_the_rule_by_hand(values: list[float], rule: dict[str, Any], expected: Any) -> None:
    assert followed(values, **rule) == expected
    assert followed([-value for value in values], DOWN, **rule) == expected


STOP = {
    "data": {"validation": 0.25},
    "rounds": 30,
    "training": {"lr": 0.5},
    "stop": {"metric": "loss/average", "patience": 3},
}


def test_a_run_stops_and_tells_the_test_at_the_best_round(tmp_path: Path) -> None:
    run = semfed.run(learners.scenario("multitask", STOP), seeds=[0, 1], out=tmp_path / "run")
    records = read_records(run.folder)
    whole = semfed.run(
        learners.scenario("multitask", STOP, {"stop": {"patience": 30}}), seeds=[0, 1], out=tmp_path / "all"
    )
    (told,) = run.summary["arms"].values()
    chosen = []
    for seed in (0, 1):
        losses = {
            r.round: r.value
            for r in read_records(whole.folder)
            if r.seed == seed and r.metric == "validation/loss/average"
        }
        assert len(losses) == 30
        best, stopped = followed([losses[k] for k in range(1, 31)], DOWN, patience=3)
        assert stopped is not None
        assert max(r.round for r in records if r.seed == seed) == stopped < 30
        assert told["best_round"]["rounds"][str(seed)] == best < stopped
        assert told["best_round"]["last"][str(seed)] == stopped
        chosen.append(best)
        (line,) = [one for one in map(json.loads, (run.folder / "outcomes.jsonl").open()) if one["seed"] == seed]
        expected = {"metric": "validation/loss/average", "round": best, "value": losses[best], "stopped": True}
        assert line["best_round"] == expected
    assert told["best_round"]["metric"] == "validation/loss/average"
    assert told["best_round"]["stopped"] == [0, 1]
    for seed, best in enumerate(chosen):
        (tested,) = [
            r.value for r in records if (r.seed, r.round, r.metric, r.client) == (seed, best, "accuracy/average", None)
        ]
        assert told["at_best_round"]["accuracy/average"]["values"][str(seed)] == tested
    assert told["at_best_round"]["accuracy/average"] != told["final"]["accuracy/average"]
    assert not [name for name in told["at_best_round"] if name.startswith("cost/")]


def test_without_stop_the_best_round_is_noted_and_training_goes_on(tmp_path: Path) -> None:
    run = semfed.run(learners.scenario("multitask", {"data": {"validation": 0.25}}), out=tmp_path / "run")
    (told,) = run.summary["arms"].values()
    found = [r.value for r in read_records(run.folder) if r.metric == "validation/accuracy/average"]
    assert told["best_round"] == {
        "metric": "validation/accuracy/average",
        "rounds": {"0": 1 + found.index(max(found))},
        "last": {"0": 3},
        "stopped": [],
    }


class Interrupt(Callback):
    def __init__(self, after: int) -> None:
        self.after = after

    def on_round(self, arm: str, seed: int, round_: int, *rest: Any) -> None:
        if round_ == self.after + 1:  # the checkpoint of the round before is there
            raise KeyboardInterrupt

    def on_arm_end(self, *rest: Any) -> None:
        raise KeyboardInterrupt


def left_behind(folder: Path) -> Any:
    names = ("metrics.jsonl", "outcomes.jsonl")
    return [(folder / name).read_text() for name in names], read_json(folder / "summary.json")


@pytest.mark.parametrize("after", [1, 4, 100])
def test_a_resumed_run_stops_after_the_same_round(after: int, tmp_path: Path) -> None:
    """After 100: killed when it was time to stop, before the arm was done."""
    given = learners.scenario("multitask", STOP)
    semfed.run(given, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        semfed.run(given, out=tmp_path / "run", callbacks=[Interrupt(after)])
    semfed.run(resume=tmp_path / "run")
    assert left_behind(tmp_path / "run") == left_behind(tmp_path / "whole")


@pytest.mark.long
@pytest.mark.parametrize("engine", ["ray", pytest.param("flower", marks=pytest.mark.flower)])
def test_all_engines_stop_after_the_same_round(engine: str, tmp_path: Path) -> None:
    given = learners.scenario("multitask", STOP, {"rounds": 12, "stop": {"patience": 1}})
    for name in ("inprocess", engine):
        semfed.run(given, engine=name, out=tmp_path / name)
    assert left_behind(tmp_path / engine) == left_behind(tmp_path / "inprocess")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ["stop={ patience = 3 }"],
            "stop.patience = 3: there is no validation split to judge rounds by; set data.validation",
        ),
        (
            ["data.validation=0.1", "stop={ patience = 3, metric = 'accuracy/t9' }"],
            "stop.metric = 'accuracy/t9' is not measured on a validation split by learner 'multitask'; choose one of "
            "'accuracy/average'",
        ),
        (["data.validation=0.1", "stop={ patience = 0 }"], "stop.patience = 0"),
    ],
)
def test_stopping_without_grounds_is_refused(changes: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as told:
        semfed.run("digits", overrides=changes, out=tmp_path / "run")
    assert said in str(told.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("learner", "changes", "said"),
    [
        ("joint", {}, "learner.global_test = 'last' is of round 30, which stop may not let an arm reach"),
        (
            "joint",
            {"learner": {"global_test": "every", "show_features": 2}},
            "learner.show_features = 2 is of round 30",
        ),
        (
            "joint",
            {"learner": {"global_test": "every"}, "stop": {"metric": "accuracy/global"}},
            "'accuracy/global' is not",
        ),
        ("cooperative", {"learner": {"schedule": "common-first"}}, "'loss/average' is not measured"),
    ],
)
def test_what_an_early_end_would_leave_out_is_refused(learner: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError) as told:
        learners.scenario(learner, STOP, changes)
    assert said in str(told.value)
