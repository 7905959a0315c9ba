"""Flower's own simulation, as processes: the same numbers, the truth about failures, and nothing left behind."""

import json
from pathlib import Path

import pytest

import semfed
from semfed.engine import flower_simulation
from semfed.errors import EngineError
from tests.processes import command_of, with_variable

pytestmark = pytest.mark.flower
SHORT = ["rounds=2", "training.epochs=1"]


@pytest.fixture(autouse=True)
def _no_process_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("SEMFED_TEST_MARK", str(tmp_path))  # other tests may run beside this one
    yield
    words = ("flower-superlink", "flower-superexec", "flwr-simulation", "raylet", "gcs_server")
    started = map(command_of, with_variable("SEMFED_TEST_MARK", str(tmp_path)))
    assert not [told for told in started if any(word in told for word in words)]


def test_the_same_numbers_as_in_process(tmp_path: Path) -> None:
    runs = {}
    for engine in ("inprocess", "flower"):
        done = semfed.run("digits", engine=engine, seeds=[0], overrides=SHORT, out=tmp_path / engine)
        runs[engine] = (
            (done.folder / "metrics.jsonl").read_text(),
            (done.folder / "outcomes.jsonl").read_text(),
            (done.folder / "scenario.toml").read_text(),
        )
        assert done.summary["complete"]
    assert runs["inprocess"] == runs["flower"]


@pytest.mark.long
def test_nodes_that_host_several_clients_give_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ``flwr run``, whose simulation has two SuperNodes unless it is told otherwise."""
    submit = flower_simulation._submit
    monkeypatch.setattr(flower_simulation, "_submit", lambda app, _, environment: submit(app, 2, environment))
    given = {"seeds": [0], "arms": ["fedcl"], "overrides": SHORT}
    told = []
    for engine in ("inprocess", "flower"):
        done = semfed.run("fedcl-digits", engine=engine, out=tmp_path / engine, **given)
        lines = (done.folder / "metrics.jsonl").read_text().splitlines()
        after_opening = [line for line in lines if json.loads(line)["round"] > 0]  # which costs a node, not a client
        told.append((after_opening, (done.folder / "outcomes.jsonl").read_text()))
    assert told[0] == told[1]


@pytest.mark.long
def test_a_failed_run_is_told_and_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A learner that raises in round 2: Flower itself would end such a run with return code 0."""
    plugins = Path(__file__).parents[1] / "plugins"
    monkeypatch.setenv("PYTHONPATH", str(plugins))
    monkeypatch.syspath_prepend(plugins)
    faulty = 'learner={name = "faulty:FailingClient", client = 1, round = 2}'
    overrides = ["rounds=3", "training.epochs=1", "strategy.quorum=1.0", faulty]
    with pytest.raises(EngineError, match=r"failed: round 2: 2 of 3 clients .* 'Sat 2' .*as asked"):
        semfed.run("digits", engine="flower", arms=["individual"], seeds=[0], overrides=overrides, out=tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"round": 1, "client": "Sat 1", "metric": "accuracy/t1"' in lines
    assert '"round": 3' not in lines
