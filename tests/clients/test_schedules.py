"""Schedules and clipping reach every learner, and the server's half of split training."""

from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict

import semfed
from semfed.errors import ScenarioError
from semfed.runs.folder import read_records
from semfed.training import optimizers

from .learners import LEARNERS, client, one_round, scenario

STEP = {"training": {"lr": 0.08, "schedule": {"name": "step", "step_size": 1, "gamma": 0.5}}}
NAMES = sorted(LEARNERS)


def left_behind(given: Any, round_: int) -> Any:
    """Train a fresh client in a round; return what it sends, what it measures and what it keeps."""
    state = RecordDict()
    made = client(given, state=state)
    shared, told = one_round(made, round_, made.get_parameters({}))
    kept = {f"{k}/{n}": a.numpy().tobytes() for k, r in state.array_records.items() for n, a in r.items()}
    return [np.array(a).tobytes() for a in shared], told, kept


@pytest.mark.parametrize("name", NAMES)
def test_a_round_trains_with_its_own_learning_rate(name: str) -> None:
    """The third round with rates that halve is a third round with a quarter of the rate, bit for bit."""
    common = {"learner": {"common": {"lr": 0.02 / 4}}} if name == "cooperative" else {}
    falling = {"learner": {"common": {"lr": 0.02}}} if name == "cooperative" else {}
    scheduled = left_behind(scenario(name, STEP, falling), 3)
    assert scheduled == left_behind(scenario(name, {"training": {"lr": 0.02}}, common), 3)
    assert scheduled != left_behind(scenario(name, {"training": {"lr": 0.08}}, falling), 3)


@pytest.mark.parametrize("name", NAMES)
def test_whole_runs_with_a_schedule_are_trained_round_by_round(name: str, tmp_path: Any) -> None:
    """All of the first two rounds of a step after two are as without, and the third is not."""
    late = {"training": {"lr": 0.05, "schedule": {"name": "step", "step_size": 2, "gamma": 0.1}}}
    found = []
    for k, changes in enumerate((late, {})):
        run = semfed.run(scenario(name, changes), out=tmp_path / str(k))
        found.append(
            {(r.round, r.client, r.metric): r.value for r in read_records(run.folder) if r.metric.startswith("loss/")}
        )
    same = {key for key, value in found[0].items() if found[1][key] == value}
    assert {round_ for round_, *_ in same} == {1, 2}
    assert {round_ for round_, *_ in found[0].keys() - same} == {3}


@pytest.mark.parametrize("name", NAMES)
def test_every_optimiser_clips(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made, wrapped = list[Any](), list[Any]()
    for kind, found in ((optimizers.SGD, made), (optimizers.Clipped, wrapped)):
        step = kind.step

        def noted(self: Any, gradients: Any, step: Any = step, found: Any = found) -> None:
            found.append(len(list(gradients)))
            step(self, gradients)

        monkeypatch.setattr(kind, "step", noted)
    adam = optimizers.Adam.step
    monkeypatch.setattr(optimizers.Adam, "step", lambda self, g: (made.append(len(list(g))), adam(self, g))[1])
    semfed.run(scenario(name, {"rounds": 1, "training": {"clip_grad_norm": 1.0}}), out=tmp_path / "run")
    assert made
    assert made == wrapped


@pytest.mark.parametrize("name", ["multitask", "joint", "split", "multi-receiver"])
def test_clipped_to_almost_nothing_nothing_moves(name: str) -> None:
    """Plain SGD moves weights by the learning rate times the norm at most, in every step."""
    made = client(scenario(name, {"training": {"clip_grad_norm": 1e-6}}))
    before = made.build_encoder().state_dict() if name == "split" else made.shared()
    after = one_round(made, 1, made.get_parameters({}))[0]
    if name == "split":
        encoder, _ = made._load(made.network("encoder"))
        after = [tensor.numpy() for tensor in encoder.state_dict().values()]
    steps = 2
    for one, two in zip(before.values(), after, strict=True):
        assert np.abs(np.asarray(one) - two).max() <= steps * 0.05 * 1e-6 + 1e-7


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": {"schedule": {"warmup": 3}}}, "training.schedule.warmup = 3 leaves none of 3 rounds"),
        ({"training": {"schedule": {"name": "cosine", "T_max": 2}}}, "learning rate of 'cosine' is 0 in round 3"),
        (
            {"rounds": 500, "training": {"schedule": {"name": "step", "step_size": 1}}},
            "learning rate of 'step' is 0 in round 500",
        ),
        (
            {"training": {"schedule": {"name": "cosine", "eta_min": 0.01}}, "learner": {"common": {"lr": 0.01}}},
            "training.schedule.eta_min = 0.01 is not below learner.common.lr = 0.01",
        ),
    ],
)
def test_schedules_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError) as told:
        scenario("cooperative", changes)
    assert said in str(told.value)


def test_what_is_trained_before_the_first_round_has_no_schedule(tmp_path: Any) -> None:
    with pytest.raises(ScenarioError, match="has no effect: encoders and classifiers are trained once"):
        semfed.run("alignment-digits", overrides={"training.schedule": {"name": "cosine"}}, out=tmp_path / "run")
