"""Seeds of an arm side by side in one process: the numbers and the folder of each alone."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed.errors import FederationError, ScenarioError
from semfed.events.callbacks import Callback
from semfed.flower.client import together
from semfed.runs import folder as folders
from semfed.runs.folder import read_records

GIVEN: dict[str, Any] = {
    "scenario": "digits",
    "arms": ["clustered", "individual"],
    "seeds": [0, 1, 2],
    "overrides": ["rounds=2", "training.epochs=1"],
}


class Sizes:
    """Notes how many clients trained as a cohort."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[int] = []
        fitted = together._fit_cohort

        def note(visits: Any) -> Any:
            self.found.append(len({(v.learner.session.trial.seed, v.learner.session.client) for v in visits}))
            return fitted(visits)

        monkeypatch.setattr(together, "_fit_cohort", note)


def same(one: Path, other: Path) -> None:
    """Insist on the same records in the same order, equal up to rounding, and on the same other files."""
    mine, theirs = read_records(one), read_records(other)
    assert [(r.arm, r.seed, r.round, r.client, r.metric) for r in mine] == [
        (r.arm, r.seed, r.round, r.client, r.metric) for r in theirs
    ]
    for a, b in zip(mine, theirs, strict=True):
        exact = a.metric.startswith(("cost", "failure", "baseline"))
        assert a.value == pytest.approx(b.value, abs=0.0 if exact else 2e-3), a.metric
    files = [
        {str(p.relative_to(f)) for p in f.rglob("*") if p.is_file() and p.parent.name != "plots"} for f in (one, other)
    ]
    assert files[0] == files[1]


def test_seeds_side_by_side_have_the_numbers_and_the_folder_of_each_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    semfed.run(**GIVEN, jobs=1, out=tmp_path / "alone")
    sizes = Sizes(monkeypatch)
    semfed.run(**GIVEN, together=3, cohort=9, out=tmp_path / "together")
    same(tmp_path / "alone", tmp_path / "together")
    # t1 and t3 have two values and t2 three, and Sat 1 has 145 images, Sat 2 180 and Sat 3 180
    assert set(sizes.found) == {3}
    assert len(sizes.found) == 2 * 2 * 3


def test_a_cohort_is_no_larger_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = Sizes(monkeypatch)
    semfed.run(**{**GIVEN, "arms": ["individual"]}, together=3, cohort=2, out=tmp_path / "run")
    assert set(sizes.found) == {2}
    assert len(sizes.found) == 2 * 3  # rounds and tasks; of three clients of a task, one is alone


def test_the_same_run_again_has_the_same_numbers(tmp_path: Path) -> None:
    """Whichever thread comes first: replies are those of the trials in their order."""
    texts, given = [], {**GIVEN, "arms": ["individual"], "seeds": [0, 1]}
    for k in range(2):
        done = semfed.run(**given, together=2, cohort=6, out=tmp_path / str(k))
        texts.append((done.folder / folders.METRICS).read_text())
    assert texts[0] == texts[1]


class Stop(Callback):
    """Ends the run when a trial is told."""

    def on_arm_end(self, *_: object) -> None:
        raise KeyboardInterrupt


def test_a_run_that_was_interrupted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {**GIVEN, "arms": ["individual"]}
    semfed.run(**given, jobs=1, out=tmp_path / "alone")
    with pytest.raises(KeyboardInterrupt) as stopped:
        semfed.run(**given, together=3, cohort=9, out=tmp_path / "run", callbacks=[Stop()])
    assert "--cohort 9 --together 3" in stopped.value.__notes__[-1]
    sizes = Sizes(monkeypatch)
    semfed.run(resume=tmp_path / "run", together=3, cohort=9)
    assert sizes.found == []  # all three were there
    same(tmp_path / "alone", tmp_path / "run")


@pytest.mark.long
def test_a_killed_run_goes_on_from_the_checkpoints_of_its_trials(tmp_path: Path) -> None:
    words = ["digits", "--arms", "individual", "--seeds", "0-2", "--set", "rounds=8", "--together", "3"]
    command = [sys.executable, "-m", "semfed.cli", "run", *words, "--cohort", "9"]
    running = subprocess.Popen([*command, "--out", str(tmp_path / "run")], stdout=subprocess.DEVNULL)
    timing = tmp_path / "run" / "trials" / "individual-seed2" / folders.TIMING
    while not timing.is_file() or timing.read_bytes().count(b"\n") < 3:
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    semfed.run(resume=tmp_path / "run", together=3, cohort=9)
    subprocess.run([*command, "--out", str(tmp_path / "whole")], check=True, stdout=subprocess.DEVNULL)
    same(tmp_path / "whole", tmp_path / "run")


def test_a_trial_that_fails_ends_the_run_as_it_does_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semfed.clients.multitask import MultitaskClient

    test = MultitaskClient.evaluate

    def fail(self: Any, parameters: Any, config: Any) -> Any:
        if self.session.trial.seed == 1:
            raise ValueError("not this seed")
        return test(self, parameters, config)

    monkeypatch.setattr(MultitaskClient, "evaluate", fail)
    given = {**GIVEN, "arms": ["individual"]}
    with pytest.raises(FederationError) as alone:
        semfed.run(**given, jobs=1, out=tmp_path / "alone")
    with pytest.raises(FederationError) as beside:
        semfed.run(**given, together=3, cohort=9, out=tmp_path / "together")
    assert str(beside.value) == str(alone.value)
    seeds = {record.seed for record in read_records(tmp_path / "together")}
    assert seeds == {0, 1}
    assert (tmp_path / "together" / "trials" / "individual-seed2" / folders.SUMMARY).is_file()


def test_trials_that_are_kept_are_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {**GIVEN, "arms": ["individual"], "together": 3, "cohort": 9, "cache": tmp_path / "kept"}
    semfed.run(**given, out=tmp_path / "first")
    sizes = Sizes(monkeypatch)
    semfed.run(**{**given, "seeds": [0, 1, 2, 3, 4]}, out=tmp_path / "more")
    assert set(sizes.found) == {2}
    sizes.found.clear()
    semfed.run(**{**given, "cohort": 2}, out=tmp_path / "other")  # rounded in another way
    assert sizes.found


def test_arms_that_cannot_be_stacked_run_as_ever(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "scenario": "fedcl-digits",
        "arms": ["fedproto", "local"],
        "seeds": [0, 1],
        "overrides": ["rounds=1", "clients.count=2", "data.q=12", 'model.encoder="mlp"'],
    }
    one = semfed.run(**given, jobs=1, out=tmp_path / "alone")
    two = semfed.run(**given, together=2, cohort=4, out=tmp_path / "together")
    same(one.folder, two.folder)
    lines = [json.loads(line) for line in folders.each_line(two.folder / folders.TIMING)]
    assert [(line["arm"], line["seed"]) for line in lines if line["round"] == 0] == [
        ("fedproto", 0), ("local", 0), ("fedproto", 1), ("local", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"jobs": 2}, "together = 3 and jobs = 2: seeds train side by side in one process, or in several; leave one"),
        ({"cohort": 1}, "cohort = 1: together = 3 trains clients side by side; leave one of them out"),
        ({"seeds": [0]}, "together = 3 has no effect: there is one seed"),
        ({"engine": "ray"}, "together = 3 has no effect with engine 'ray': it is an option of inprocess"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        semfed.run(**{**GIVEN, "together": 3, **options}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
