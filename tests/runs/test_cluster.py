"""Trials on a Ray cluster: the run folder is that of one process, whoever shares what, and whoever dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import semfed
from semfed.engine.ray import pool as actors
from semfed.errors import EngineError, FederationError, RunFolderError
from semfed.events.callbacks import Callback
from semfed.runs import cluster, trials
from semfed.runs import folder as folders
from semfed.runs.cluster import RayPool, TrialTrainer
from semfed.scenario import overrides
from tests.ray_cluster import ray_cluster

from .test_grid import GIVEN, PLUGINS, Told, content, without_figures

SMALL: dict[str, Any] = {**GIVEN, "seeds": [0], "sweep": None}
"""Two trials."""


class Inline:
    """Actors that follow an order, in this process, when they are asked what they have done."""

    def __init__(self, make: Callable[[], Any], count: int, **where: Any) -> None:
        self.follow, self.count, self.where = make(), count, where
        self.orders: dict[int, tuple[str, tuple[Any, ...]]] = {}
        self.followed: list[tuple[int, Any]] = []
        self.closed = False

    @property
    def idle(self) -> list[int]:
        return [actor for actor in range(self.count) if actor not in self.orders]

    def give(self, actor: int, name: str, *order: Any) -> None:
        assert actor in self.idle
        self.orders[actor] = name, order

    def take(self) -> list[tuple[int, str, Any]]:
        orders, self.orders = self.orders, {}
        self.followed += [(actor, order) for actor, (_, order) in orders.items()]
        return [(actor, name, self.follow(*order)) for actor, (name, order) in orders.items()]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> list[Inline]:
    """The pools of actors that were made."""
    made: list[Inline] = []

    def make(*args: Any, **where: Any) -> Inline:
        made.append(Inline(*args, **where))
        return made[-1]

    monkeypatch.setattr(actors, "ActorPool", make)
    return made


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("alone") / "run"
    semfed.run(**SMALL, jobs=1, out=out)
    return content(out)


@pytest.mark.parametrize("shared", [True, False])
def test_the_folder_is_the_same_whether_or_not_machines_see_it(
    shared: bool, alone: dict[str, str], inline: list[Inline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, received = Told(), []
    receive = cluster.receive
    monkeypatch.setattr(cluster, "receive", lambda *args: (received.append(args[0].name), receive(*args)))
    if not shared:
        monkeypatch.setattr(RayPool, "_post", lambda self: (self._run / trials.TRIALS).mkdir())
    semfed.run(**SMALL, engine="ray", jobs=5, gpus_per_worker=0.5, out=tmp_path / "run", callbacks=[told])
    assert content(tmp_path / "run") == alone
    assert received == ([] if shared else ["clustered-seed0", "individual-seed0"])
    assert inline[0].count == 2  # not more than there are trials
    assert inline[0].where == {"address": None, "gpus": 0.5}
    assert inline[0].closed
    assert (told.trials[0].jobs, told.trials[0].trials) == (5, 2)
    assert folders.read_json(tmp_path / "run" / folders.ENVIRONMENT)["engine"] == "ray"


def test_a_single_trial_goes_to_the_cluster_and_a_kept_one_does_not(
    alone: dict[str, str], inline: list[Inline], tmp_path: Path
) -> None:
    one = {**SMALL, "arms": ["individual"], "engine": "ray", "jobs": 2, "cache": tmp_path / "kept"}
    semfed.run(**one, out=tmp_path / "first")
    assert [order for _, order in inline[0].followed] == [("individual", 0)]
    semfed.run(**one, out=tmp_path / "again")
    assert len(inline) == 1
    assert content(tmp_path / "again") == content(tmp_path / "first")


def test_actors_stay_with_their_seed_and_what_is_complete_is_not_run_again(
    inline: list[Inline], tmp_path: Path
) -> None:
    scenario = overrides.load("digits", ["rounds=1", "training.epochs=1"], seeds=[0, 1])
    done = trials.folder_of(tmp_path, "clustered", 0)
    done.mkdir(parents=True)
    (done / folders.SUMMARY).write_text(json.dumps({"complete": True}))
    pool = RayPool(tmp_path, scenario, None, {})
    assert not pool.look()
    pool.start(2, [(arm, seed) for seed in (0, 1) for arm in ("clustered", "individual", "federated")])
    while pool.look():
        assert pool.size == 2
    assert [actor for actor, order in inline[0].followed if order[1] == 0] == [0, 0]
    assert sorted(order for _, order in inline[0].followed) == [
        ("clustered", 1), ("federated", 0), ("federated", 1), ("individual", 0), ("individual", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("shared", [True, False])
def test_an_error_there_is_the_one_that_it_would_be_here(
    shared: bool, inline: list[Inline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    if not shared:
        monkeypatch.setattr(RayPool, "_post", lambda self: (self._run / trials.TRIALS).mkdir(exist_ok=True))
    failing = {**SMALL, "overrides": [*SMALL["overrides"], "on_client_failure=fail", "learner=absent:Multitask"]}
    found = []
    for options in ({}, {"engine": "ray", "jobs": 2}):
        with pytest.raises(FederationError) as raised:
            semfed.run(**failing, **options, out=tmp_path / str(len(found)))
        found.append(str(raised.value))
    assert found[0] == found[1]
    assert inline[0].closed


def test_an_interrupted_run_says_how_it_goes_on(inline: list[Inline], tmp_path: Path) -> None:
    class Interrupt(Callback):
        def on_arm_end(self, *_: Any) -> None:
            raise KeyboardInterrupt

    where = {"engine": "ray", "ray_address": "192.0.2.1:6379", "jobs": 2}
    with pytest.raises(KeyboardInterrupt) as raised:
        semfed.run(**SMALL, **where, out=tmp_path / "run", callbacks=[Interrupt()])
    told = f"go on with: semfed run --resume {tmp_path / 'run'} --engine ray --ray-address 192.0.2.1:6379 --jobs 2"
    assert told in raised.value.__notes__
    assert inline[0].closed
    semfed.run(resume=tmp_path / "run", jobs=1)
    assert not (tmp_path / "run" / trials.TRIALS).exists()


def test_two_never_train_one_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor that is taken for dead may live on: who comes after it waits, and then finds the trial complete."""
    scenario = overrides.load("digits", seeds=[0])
    (tmp_path / trials.TRIALS).mkdir()
    (tmp_path / trials.TRIALS / "sign").touch()
    train = TrialTrainer(tmp_path, "sign", scenario.to_toml(), [], None, {})
    folder = trials.folder_of(tmp_path, "clustered", 0)
    lock = trials.claim(folder)
    assert lock is not None

    def wait(seconds: float) -> None:
        (folder / folders.SUMMARY).write_text(json.dumps({"complete": True}))
        lock.close()

    monkeypatch.setattr(cluster.time, "sleep", wait)
    monkeypatch.setattr(trials, "perform", None)
    assert train("clustered", 0) == (True, None)


def test_where_files_cannot_be_locked_a_trial_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim(folder: Path) -> None:
        raise RunFolderError("no locks here")

    monkeypatch.setattr(trials, "claim", claim)
    (tmp_path / trials.TRIALS).mkdir()
    (tmp_path / trials.TRIALS / "sign").touch()
    scenario = overrides.load("digits", ["rounds=1", "training.epochs=1"], seeds=[0])
    ended, files = TrialTrainer(tmp_path, "sign", scenario.to_toml(), [], None, {})("individual", 0)
    assert ended
    assert files is not None
    assert {"summary.json", "metrics.jsonl", "parameters/individual-seed0.safetensors"} <= set(files)
    assert not trials.folder_of(tmp_path, "individual", 0).exists()


def test_a_folder_is_received_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "old").touch()
    files = {"a": b"1", "models/x/b": b"2"}
    cluster.receive(folder, files)
    assert cluster.content(folder) == files
    assert [path.name for path in tmp_path.iterdir()] == ["trial"]
    with pytest.raises(RunFolderError, match="cannot be written .*go on with --resume"):
        cluster.receive(tmp_path / "nowhere" / "trial", files)


def test_what_has_no_end_and_what_is_not_seen_here_is_told(
    inline: list[Inline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = iter([(False, None), (True, None)])
    monkeypatch.setattr(cluster, "TrialTrainer", lambda *args: lambda *order: next(results))
    monkeypatch.setattr(cluster, "SIGHT_S", -1.0)
    scenario = overrides.load("digits", seeds=[0])
    for sentence in ("clustered, seed 0 has no end where a Ray actor ran it", "but '.*' does not show it"):
        pool = RayPool(tmp_path, scenario, None, {})
        pool.start(1, [("clustered", 0)])
        assert pool.look()
        with pytest.raises(EngineError, match=sentence):
            pool.look()


# -- with Ray itself; its short tests are in tests/engine/ray, where a cluster is up ----------------------


@pytest.fixture(scope="module")
def joined() -> Iterator[None]:
    with ray_cluster(2):
        yield


@pytest.mark.flower
@pytest.mark.long
def test_a_trial_whose_actor_died_is_run_again_and_not_for_ever(joined: None, tmp_path: Path) -> None:
    once = tmp_path / "died"
    deadly = f'learner={{name = "faulty:FailingClient", client = 1, round = 2, how = "die", once = "{once}"}}'
    given = {**SMALL, "overrides": [*SMALL["overrides"], deadly]}
    semfed.run(**given, engine="ray", jobs=2, out=tmp_path / "ray")
    assert once.exists()
    semfed.run(**given, jobs=1, out=tmp_path / "alone")  # where nobody dies any more
    assert content(tmp_path / "ray") == content(tmp_path / "alone")
    given["overrides"][-1] = 'learner={name = "faulty:FailingClient", client = 1, round = 2, how = "die"}'
    either = r"a Ray actor died 4 times with (clustered|individual), seed 0, for want of memory"
    with pytest.raises(EngineError, match=either):  # both die, side by side
        semfed.run(**given, engine="ray", jobs=2, out=tmp_path / "deadly")


@pytest.mark.flower
@pytest.mark.long
def test_what_actors_cannot_import_is_told(joined: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.RayPool, "__init__", _without_scenario(RayPool.__init__))
    with pytest.raises(
        EngineError, match="a Ray actor cannot run (clustered|individual), seed 0: ScenarioError: name: missing"
    ):
        semfed.run(**SMALL, engine="ray", jobs=2, out=tmp_path / "run")


def _without_scenario(init: Any) -> Any:
    def begin(self: RayPool, *args: Any, **where: Any) -> None:
        init(self, *args, **where)
        kind, (run, sign, _, *rest) = self._make.func, self._make.args
        self._make = type(self._make)(kind, run, sign, "rounds = 1", *rest)

    return begin


def _command(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    words = [] if (folder / folders.SCENARIO).exists() else [
        "digits", "--seeds", "0-1", "--arms", ",".join(GIVEN["arms"]), "--sweep", GIVEN["sweep"],
        *(word for text in GIVEN["overrides"] for word in ("--set", text)),
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "semfed.cli", "run", *words, "--resume", str(folder), "--engine", "ray", *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def rounds_done(folder: Path) -> int:
    try:
        return sum(path.read_bytes().count(b"\n") for path in folder.rglob(folders.TIMING))
    except FileNotFoundError:  # a folder of a trial that has ended meanwhile
        return 0


@pytest.mark.flower
@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_private_cluster_that_is_ended_goes_on_and_ends_with_the_same_bytes(
    number: signal.Signals, tmp_path: Path
) -> None:
    """Eight trials: two seeds, two SNRs, two arms."""
    semfed.run(**GIVEN, jobs=1, out=tmp_path / "alone")
    folder = tmp_path / "run"
    process = _command(folder, "--jobs", "2")
    while rounds_done(folder) < 4:
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.01)
    family = psutil.Process(process.pid).children(recursive=True)
    family = [one for one in family if not one.name().endswith("Agent")]  # which take minutes to miss a killed raylet
    process.send_signal(number)
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert f"go on with: semfed run --resume {folder} --engine ray --jobs 2" in error
    assert not psutil.wait_procs(family, timeout=60)[1]
    again = _command(folder, "--jobs", "2")
    assert again.wait() == 0, again.communicate()[1].decode()
    assert without_figures(content(folder)) == without_figures(content(tmp_path / "alone"))
    assert not (folder / trials.TRIALS).exists()
