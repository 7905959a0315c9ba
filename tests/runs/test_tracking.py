"""Trackers, each read back by its own reader; and that they never harm a run."""

import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed.errors import ScenarioError
from semfed.events.callbacks import Callback
from semfed.runs import tracking
from semfed.runs.folder import read_records
from tests.clients import learners

GIVEN = {
    "data": {"validation": 0.25},
    "rounds": 2,
    "arms": [{"name": "slow"}, {"name": "fast", "training": {"lr": 0.2}}],
}
ACCURACY = "accuracy/average"


@pytest.fixture(autouse=True)
def nobodys_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's user reaches a test, and nothing of a test anybody's server."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "WANDB_PROJECT", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


def curve(folder: Path, arm: str, metric: str = ACCURACY, seed: int = 0) -> dict[int, float]:
    records = [r for r in read_records(folder) if (r.arm, r.seed, r.metric, r.client) == (arm, seed, metric, None)]
    return {r.round: r.value for r in records}


def steps_and_values(found: Any, metric: str) -> tuple[list[int], list[float]]:
    """Return what TensorBoard's reader found; its values are float32."""
    return [event.step for event in found.Scalars(metric)], [event.value for event in found.Scalars(metric)]


def test_tensorboard_reads_what_the_run_folder_has(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    semfed.run(learners.scenario("multitask", GIVEN), seeds=[0, 1], out=tmp_path / "run", track=["tensorboard"])
    for arm, lr in (("slow", "0.05"), ("fast", "0.2")):
        for seed in (0, 1):
            found = reader.EventAccumulator(str(tmp_path / "run" / "tensorboard" / f"{arm}-seed{seed}")).Reload()
            for metric in (ACCURACY, f"validation/{ACCURACY}"):
                expected = curve(tmp_path / "run", arm, metric, seed)
                assert steps_and_values(found, metric) == (list(expected), pytest.approx(list(expected.values())))
            (text,) = found.Tensors("scenario/text_summary")
            assert f"lr = {lr}" in text.tensor_proto.string_val[0].decode()
            assert [e.step for e in found.Scalars("cost/channel_uses")] == [1, 2]


class Interrupt(Callback):
    def on_round(self, arm: str, seed: int, round_: int, *rest: Any) -> None:
        if round_ == 2:
            raise KeyboardInterrupt


def test_a_resumed_run_has_every_round_once(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    mlflow = pytest.importorskip("mlflow")
    given, both = learners.scenario("multitask"), ["tensorboard", "mlflow"]
    with pytest.raises(KeyboardInterrupt):
        semfed.run(given, out=tmp_path / "run", track=both, callbacks=[Interrupt()])
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("small").experiment_id
    assert [run.info.status for run in client.search_runs([experiment])] == ["FAILED"]
    semfed.run(resume=tmp_path / "run", track=both)
    found = reader.EventAccumulator(str(tmp_path / "run" / "tensorboard" / "small-seed0")).Reload()
    expected = curve(tmp_path / "run", "small")
    assert steps_and_values(found, ACCURACY) == ([1, 2, 3], pytest.approx(list(expected.values())))
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(run.info.run_id, ACCURACY)] == [1, 2, 3]


@pytest.mark.long
def test_mlflow_reads_what_the_run_folder_has(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    semfed.run(learners.scenario("multitask", GIVEN), out=tmp_path / "run", track=["mlflow"])
    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["fast seed 0", "slow seed 0"]
    for run in runs:
        arm = run.data.params["arm"]
        history = client.get_metric_history(run.info.run_id, ACCURACY)
        assert {m.step: m.value for m in history} == curve(tmp_path / "run", arm)
        assert run.data.params["training.lr"] == {"slow": "0.05", "fast": "0.2"}[arm]
        assert run.data.tags["best_round/metric"] == f"validation/{ACCURACY}"
        assert run.info.status == "FINISHED"


def wandb_records(path: Path) -> Iterator[Any]:
    """Read a ``.wandb`` file: LevelDB's log format after a header of 7 bytes, a protocol buffer a record."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # what is left of a block is padding
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def test_wandb_keeps_offline_what_the_run_folder_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    semfed.run(learners.scenario("multitask", GIVEN), out=tmp_path / "run", track=["wandb"])
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    seen = set()
    for file in files:
        config, name, logged, finished = dict[str, str](), "", dict[int, float](), None
        for record in wandb_records(file):
            if record.HasField("run"):
                name, group = record.run.display_name, record.run.run_group
                config = {item.key: item.value_json for item in record.run.config.update}
                assert (record.run.project, group) == ("small", "run")
            if record.HasField("history"):
                row = {i.key or "/".join(i.nested_key): float(i.value_json) for i in record.history.item}
                if ACCURACY in row:
                    logged[record.history.step.num] = row[ACCURACY]
            if record.HasField("exit"):
                finished = record.exit.exit_code
        arm = name.split()[0]
        seen.add(arm)
        assert logged == curve(tmp_path / "run", arm)
        assert json.loads(config["training"])["lr"] == {"slow": 0.05, "fast": 0.2}[arm]
        assert config["seed"] == "0"
        assert finished == 0
    assert seen == {"slow", "fast"}


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("online", "there is no login; run 'wandb login' or set WANDB_API_KEY"),
        ("disabled", "WANDB_MODE=disabled keeps"),
    ],
)
def test_wandb_without_a_login_is_refused_before_training(
    mode: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setattr(wandb, "init", None)  # would open a connection
    with pytest.raises(ScenarioError) as told:
        semfed.run(learners.scenario("multitask"), out=tmp_path / "run", track=["wandb"])
    assert said in str(told.value)
    assert not (tmp_path / "run").exists()


def test_a_login_is_found_where_wandb_looks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from semfed.runs.tracking.wandb import WandB

    monkeypatch.setenv("WANDB_MODE", "online")
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password nothing\n")
    (tmp_path / ".netrc").chmod(0o600)
    WandB.require_ready()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    with pytest.raises(ScenarioError, match="there is no login"):
        WandB.require_ready()
    monkeypatch.setenv("WANDB_API_KEY", "nothing")
    WandB.require_ready()


@pytest.mark.parametrize("name", sorted(tracking.TRACKERS))
def test_a_missing_package_is_told_before_training(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda package: None)
    with pytest.raises(ScenarioError) as told:
        semfed.run(learners.scenario("multitask"), out=tmp_path / "run", track=[name])
    assert str(told.value) == f"track = '{name}': the package {name} is missing; pip install 'semfed[tracking]'"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fails", ["begin", "log", "end"])
def test_a_tracker_that_fails_warns_once_and_the_run_goes_on(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def broken(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        raise ConnectionError("nobody answers\nat all")

    (kind,) = tracking.find(["tensorboard"])
    monkeypatch.setattr(kind, fails, broken)
    given = learners.scenario("multitask", GIVEN)
    with caplog.at_level(logging.WARNING):
        run = semfed.run(given, out=tmp_path / "run", track=["tensorboard"])
    said = [r.getMessage() for r in caplog.records if "tracker" in r.getMessage()]
    assert said == [
        "tracker 'tensorboard' failed (ConnectionError: nobody answers) and is left out from here on; the run goes on, "
        "and its folder has all"
    ]
    assert len(calls) == 1
    assert run.summary == semfed.run(given, out=tmp_path / "plain").summary


def test_a_tracker_of_another_name_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"there is no such tracker; did you mean 'tensorboard'"):
        tracking.find(["tensorbord"])
