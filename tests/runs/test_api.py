import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

import semfed
from semfed import scenario
from semfed.errors import DataError, FederationError, RunFolderError, ScenarioError
from semfed.events.callbacks import Callback, array_digest
from semfed.report import plots
from semfed.scenario import overrides

SHORT = ["rounds=2", "training.epochs=1"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return semfed.run("digits", seeds=[0, 1], overrides=SHORT, out=tmp_path_factory.mktemp("run") / "digits")


def test_the_run_folder_is_complete(done: Any) -> None:
    names = {path.name for path in done.folder.iterdir()}
    assert {
        "scenario.toml",
        "environment.json",
        "metrics.jsonl",
        "summary.json",
        "outcomes.jsonl",
        "timing.jsonl",
    } <= names
    resolved = overrides.load(done.folder / "scenario.toml")
    assert resolved == done.scenario
    environment = json.loads((done.folder / "environment.json").read_text())
    assert environment["scenario_sha256"] == resolved.digest
    assert environment["packages"]["torch"]
    for line in (done.folder / "metrics.jsonl").read_text().splitlines():
        assert {"arm", "seed", "round", "client", "metric", "value"} <= set(json.loads(line))


def test_the_summary_has_what_scripts_read(done: Any) -> None:
    summary = done.summary
    assert list(summary["arms"]) == ["clustered", "unclustered", "individual"]
    wanted = {f"{quantity}/{task}" for quantity in ("accuracy", "loss") for task in ("t1", "t2", "t3", "average")}
    wanted |= {"cost/bytes_up", "cost/bytes_down", "cost/channel_uses"}
    for arm in summary["arms"].values():
        assert wanted <= set(arm["final"])
        assert wanted <= set(arm["round_mean"])
        assert set(arm["final"]["accuracy/t1"]) == {"n", "mean", "sd", "ci95", "values", "missing"}
        assert set(arm["final"]["accuracy/t1"]["values"]) == {"0", "1"}
    assert summary["clusters"]["clustered"] == [[0, 1], [2]]
    assert summary["threshold"] == pytest.approx(summary["similarity"][0][1] / 2)
    assert summary["baselines"]["accuracy/t1"] == pytest.approx(0.9017, abs=1e-4)
    assert 0 < summary["arms"]["clustered"]["final"]["accuracy/average"]["mean"] < 1


def test_final_parameters_are_kept(done: Any) -> None:
    outcomes = [json.loads(line) for line in (done.folder / "outcomes.jsonl").read_text().splitlines()]
    for outcome in outcomes:
        arrays = load_file(done.folder / "parameters" / f"{outcome['arm']}-seed{outcome['seed']}.safetensors")
        assert array_digest(arrays) == outcome["parameters_sha256"]


def test_a_run_can_be_repeated_bit_for_bit(done: Any, tmp_path: Path) -> None:
    again = semfed.run(done.folder / "scenario.toml", out=tmp_path / "again")
    assert (again.folder / "metrics.jsonl").read_text() == (done.folder / "metrics.jsonl").read_text()


def test_figures_are_drawn_from_the_folder(done: Any) -> None:
    drawn = plots.plot(done.folder)
    assert {path.stem for path in drawn} >= {"accuracy-average-vs-round", "accuracy-average-vs-bytes", "similarity"}
    for path in drawn:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_a_sweep_is_drawn_against_its_setting(tmp_path: Path) -> None:
    done = semfed.run("digits", arms=["clustered"], seeds=[0], overrides=["rounds=1", "training.epochs=1"],
                      sweep="channel.snr_db=0,10", out=tmp_path / "sweep")  # fmt: skip
    assert list(done.summary["arms"]) == ["clustered@0", "clustered@10"]
    assert "accuracy-average-vs-channel.snr_db" in {path.stem for path in plots.plot(done.folder)}


def test_bad_input_fails_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEMFED_DATA", raising=False)
    out = tmp_path / "run"
    counts = "data.partition.counts=[[0,0,9999,0,0,0,0,0,0,0],[0,1,1,1,0,0,0,0,0,0],[0,0,0,0,0,0,1,0,0,0]]"
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ScenarioError, "engine 'warp' is unknown", {"engine": "warp"}),
        (ScenarioError, "no such setting", {"overrides": ["chanel.snr=1"]}),
        (ScenarioError, "no plugin 'fedsgd'", {"overrides": ["strategy=fedsgd"]}),
        (DataError, "asks for 10000 images of class '2', but there are 124", {"overrides": [counts]}),
        (DataError, "the data set has no class '12'", {"overrides": ["tasks.t1.values=[12]"]}),
        (DataError, "'Sat 1' has no sample of value '6' of its task 't3'", {"overrides": ["clients.Sat 1.task=t3"]}),
        (
            ScenarioError,
            "tasks.t2.missing = 'allow': learner 'multi-receiver' never refuses a missing value; leave it out",
            {"scenario": "mtoc-federated", "overrides": ["tasks.t2.missing=allow"]},
        ),
        (ScenarioError, "offers 0 GPUs|offers . GPUs", {"overrides": ["training.device=cuda:77"]}),
        (DataError, "needs a data root", {"overrides": ["data.source=mnist"]}),
        (DataError, "is not in .*put its files", {"overrides": ["data.source=mnist"], "data_root": tmp_path}),
    ]
    for error, words, arguments in cases:
        with pytest.raises(error, match=words):
            semfed.run(**{"scenario": "digits", "out": out, **arguments})
        assert not out.exists(), words


def test_an_existing_run_is_never_overwritten(done: Any) -> None:
    before = (done.folder / "metrics.jsonl").read_bytes()
    with pytest.raises(RunFolderError, match="is not empty"):
        semfed.run("digits", overrides=SHORT, out=done.folder)
    assert (done.folder / "metrics.jsonl").read_bytes() == before


def test_what_was_measured_before_a_failure_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "plugins")
    faulty = 'learner={name = "faulty:FailingClient", client = 1, round = 2}'
    with pytest.raises(FederationError, match="round 2: 2 of 3 clients"):
        semfed.run("digits", arms=["clustered"], seeds=[0], overrides=[*SHORT, "strategy.quorum=1.0", faulty],
                   out=tmp_path / "run")  # fmt: skip
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert not summary["complete"]
    assert "'Sat 2' (RuntimeError: as asked)" in summary["error"]
    assert set(summary["arms"]["clustered"]["final"]["accuracy/t2"]["values"]) == {"0"}


def test_callbacks_hear_of_everything_in_order(tmp_path: Path) -> None:
    heard: list[tuple[Any, ...]] = []

    class Listener(Callback):
        def on_run_start(self, scenario: Any) -> None:
            heard.append(("start", scenario.name))

        def on_arm_start(self, arm: str, seed: int) -> None:
            heard.append(("arm", arm, seed))

        def on_round(self, arm: str, seed: int, round_: int, records: Any, seconds: float) -> None:
            heard.append(("round", round_))
            assert all((r.arm, r.seed, r.round) == (arm, seed, round_) for r in records)

        def on_arm_end(self, arm: str, seed: int, outcome: Any) -> None:
            heard.append(("end", arm, seed))

        def on_run_end(self, error: BaseException | None) -> None:
            heard.append(("over", error))

    semfed.run("digits", arms=["individual"], seeds=[4], overrides=SHORT, out=tmp_path / "run", callbacks=[Listener()])
    rounds = [("round", 0), ("round", 1), ("round", 2)]
    assert heard == [("start", "digits"), ("arm", "individual", 4), *rounds, ("end", "individual", 4), ("over", None)]


def test_built_in_scenarios_are_thin_flower_apps() -> None:
    import tomllib

    for name, path in scenario.built_in().items():
        project = tomllib.loads((path.parent / "pyproject.toml").read_text())
        app = project["tool"]["flwr"]["app"]
        assert project["project"]["name"] == name
        assert project["project"]["dependencies"] == []
        assert app["components"]["serverapp"] == "semfed.flower.server_app:app"
        assert app["components"]["clientapp"] == "semfed.flower.client_app:app"
        loaded = overrides.load(name)
        assert app["config"]["rounds"] == loaded.rounds
        assert loaded.name == name
        assert (path.parent / "README.md").is_file()
        assert not list(path.parent.rglob("*.py"))
