"""Trials side by side, interrupted ones and kept ones: the run folder is the same, whoever trained what."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import semfed
from semfed.errors import EngineError, FederationError, RunFolderError, ScenarioError
from semfed.events.callbacks import Callback
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.learner import Learner
from semfed.flower.trial import Trial
from semfed.runs import folder as folders
from semfed.runs import grid, pool, trials, worker
from semfed.runs.kept import KeptTrials
from semfed.scenario import overrides

PLUGINS = Path(__file__).parents[1] / "plugins"
GIVEN: dict[str, Any] = {
    "scenario": "digits",
    "arms": ["clustered", "individual"],
    "seeds": [0, 1],
    "overrides": ["rounds=2", "training.epochs=1"],
    "sweep": "channel.snr_db=0,10",
}
TRIALS = 2 * 2 * 2
OF_ONE_RUN = {".lock", "environment.json", "timing.jsonl", "checkpoint.json"}
"""What no two runs have alike: when, how long, and by what command."""


def content(folder: Path) -> dict[str, str]:
    """Hashes of all files of a run folder, and of the history of its rounds without their seconds."""
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in OF_ONE_RUN
    }
    lines = [json.loads(line) for line in folders.each_line(folder / folders.TIMING)]
    return found | {"rounds": str([(line["arm"], line["seed"], line["round"]) for line in lines])}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("alone") / "run"
    semfed.run(**GIVEN, jobs=1, out=out)
    return content(out)


class Told(Callback):
    """What a callback hears, without what is measured in seconds."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.trials: list[Any] = []

    def on_arm_start(self, arm: str, seed: int) -> None:
        self.heard.append((arm, seed))

    def on_trials(self, progress: Any) -> None:
        self.trials.append(progress)

    def on_round(self, arm: str, seed: int, round_: int, records: Any, seconds: float) -> None:
        self.heard.append((arm, seed, round_, tuple(records)))

    def on_arm_end(self, arm: str, seed: int, outcome: Any) -> None:
        arrays = {name: array.tobytes() for name, array in outcome.arrays.items()}
        self.heard.append((arm, seed, arrays, outcome.details, outcome.baselines, sorted(outcome.samples)))


def test_the_folder_and_what_callbacks_hear_are_the_same_with_two_jobs(alone: dict[str, str], tmp_path: Path) -> None:
    one, two = Told(), Told()
    semfed.run(**GIVEN, jobs=2, out=tmp_path / "two", callbacks=[two])
    assert content(tmp_path / "two") == alone
    assert len([name for name in alone if name.startswith("parameters/")]) == TRIALS
    semfed.run(**GIVEN, jobs=1, out=tmp_path / "one", callbacks=[one])
    assert two.heard == one.heard
    assert (two.trials[0].jobs, two.trials[0].why, two.trials[0].trials) == (2, "as asked for", TRIALS)
    assert two.trials[0].rounds == 2 * TRIALS
    done = [(progress.trials_done, progress.rounds_done) for progress in two.trials]
    assert done == sorted(done)


def test_processes_start_unasked_once_it_pays(
    alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first trial goes on here, and the others are as many as cores and memory allow."""
    monkeypatch.setattr(grid, "WORTH_S", 0.0)
    monkeypatch.setattr(grid, "_cores", lambda: 2)
    told = Told()
    semfed.run(**GIVEN, out=tmp_path / "run", callbacks=[told])
    assert content(tmp_path / "run") == alone
    assert told.trials[0].jobs == 2
    assert told.trials[0].why.startswith("2 cores, and a trial takes ")


def test_no_process_starts_unasked_for_a_moment_or_without_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.subprocess, "Popen", None)
    told = Told()
    short = {**GIVEN, "arms": ["individual"]}
    semfed.run(**short, out=tmp_path / "short", callbacks=[told])
    assert told.trials == []
    monkeypatch.setattr(grid, "WORTH_S", 0.0)
    monkeypatch.setattr(grid.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1_000_000}))
    semfed.run(**short, out=tmp_path / "full", callbacks=[told])
    assert told.trials[0].jobs == 1
    assert told.trials[0].why.endswith("of which 1 MB are free")


def start(folder: Path, jobs: int = 2) -> subprocess.Popen[bytes]:
    words = ["--arms", ",".join(GIVEN["arms"]), "--seeds", "0-1", "--sweep", GIVEN["sweep"]]
    words += [word for text in GIVEN["overrides"] for word in ("--set", text)]
    words = ["--resume", str(folder), *(() if (folder / folders.SCENARIO).exists() else (GIVEN["scenario"], *words))]
    return subprocess.Popen(
        [sys.executable, "-m", "semfed.cli", "run", *words, "--jobs", str(jobs)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def rounds_done(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.rglob(folders.TIMING))


def without_figures(found: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in found.items() if not name.startswith("plots/")}


def test_a_grid_that_is_killed_goes_on_where_it_stopped(alone: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder)
    while rounds_done(folder) < 7:
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    complete = [path for path in folder.glob(f"{trials.TRIALS}/*") if path.is_dir() and trials.is_complete(path)]
    seconds = [line for path in complete for line in folders.each_line(path / folders.TIMING)]
    semfed.run(resume=folder, jobs=2)
    assert content(folder) == alone
    assert seconds
    assert set(seconds) < set(folders.each_line(folder / folders.TIMING))  # no complete trial was run again


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes_and_the_grid_goes_on(
    number: signal.Signals, alone: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    process = start(folder)
    while rounds_done(folder) < 4:
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.01)
    workers = [child for child in psutil.Process(process.pid).children() if "semfed.runs.worker" in child.cmdline()]
    assert len(workers) == 2
    process.send_signal(number)
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 128 + number
    assert f"go on with: semfed run --resume {folder} --jobs 2" in error
    assert not psutil.wait_procs(workers, timeout=0)[1]
    semfed.run(resume=folder, jobs=1)
    assert content(folder) == alone


@pytest.mark.long
def test_a_grid_that_is_killed_at_random_moments_ends_with_the_same_bytes(
    alone: dict[str, str], tmp_path: Path
) -> None:
    draw, kills, attempt = random.Random(0), 0, 0
    began = time.monotonic()
    assert start(tmp_path / "unhurried").wait() == 0
    longest = time.monotonic() - began
    while kills < 20:
        attempt += 1
        folder = tmp_path / f"run{attempt}"
        while True:
            process = start(folder, jobs=draw.choice([1, 2, 3]))
            try:
                error = process.communicate(timeout=draw.uniform(0.3, longest))[1]
                assert process.returncode == 0, error.decode()
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                longest *= 1.05
        assert without_figures(content(folder)) == alone


def test_a_process_that_is_killed_ends_the_run_which_goes_on(alone: dict[str, str], tmp_path: Path) -> None:
    class Kill(Callback):
        def on_trials(self, progress: Any) -> None:
            for child in grid.psutil.Process().children():
                if "semfed.runs.worker" in child.cmdline():
                    child.kill()

    with pytest.raises(EngineError, match="one of 2 beside this one, was killed, for want of memory perhaps: go on"):
        semfed.run(**GIVEN, jobs=2, out=tmp_path / "run", callbacks=[Kill()])
    semfed.run(resume=tmp_path / "run", jobs=1)
    assert content(tmp_path / "run") == alone


def test_a_trial_is_run_by_one_process_and_a_folder_by_one_run(tmp_path: Path) -> None:
    folder = trials.folder_of(tmp_path / "run", "clustered", 0)
    lock = trials.claim(folder)
    assert lock is not None
    with lock:
        assert trials.claim(folder) is None
    again = trials.claim(folder)
    assert again is not None
    again.close()
    with folders.lock(tmp_path / "run"), pytest.raises(RunFolderError, match="is being written by process"):
        semfed.run(**GIVEN, jobs=2, resume=tmp_path / "run")
    assert list(folder.iterdir()) == []


def test_a_process_stays_with_its_seed_and_leaves_others_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arms of a seed share what is expensive to open, which a process keeps."""
    order = []

    def perform(folder: Path, scenario: Any, arm: str, seed: int, *_: Any) -> None:
        order.append((arm, seed))
        ended = [folder, *([trials.folder_of(tmp_path, "a", 0)] if len(order) == 3 else [])]
        for path in ended:
            (path / folders.SUMMARY).write_text(json.dumps({"complete": True}))

    monkeypatch.setattr(trials, "perform", perform)
    elsewhere = trials.claim(trials.folder_of(tmp_path, "a", 0))
    assert elsewhere is not None
    with elsewhere:
        wanted = [(arm, seed) for seed in (0, 1) for arm in ("a", "b")]
        assert worker.work(tmp_path, overrides.load("digits"), wanted, None, {}) == 0
    assert order == [("a", 1), ("b", 1), ("b", 0)]


def test_a_trial_alone_is_what_it_is_in_its_run() -> None:
    """Also where the headline of all arms is one that this arm does not measure."""
    loaded = overrides.load(
        "fedcl-digits", ["arms.local.learner.global_test=never", "headline=accuracy/global"], sweep="snr_db=0,5"
    )
    for arm in loaded.arm_names:
        alone = trials.only(loaded, arm, 3)
        assert (alone.arm_names, alone.seeds) == ((arm,), (3,))
        assert Trial(alone.arm(arm), arm, 3).to_json() == Trial(loaded.arm(arm), arm, 3).to_json()


def test_a_process_that_cannot_start_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(EngineError, match="one of 2 beside this one, ended with status 1: what it said is above"):
        semfed.run(**GIVEN, jobs=2, out=tmp_path / "run")


@pytest.mark.long
def test_an_error_beside_is_the_one_that_it_would_be_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    failing = {**GIVEN, "overrides": [*GIVEN["overrides"], "on_client_failure=fail", "learner=absent:Multitask"]}
    found = []
    for jobs in (1, 2):
        with pytest.raises(FederationError) as raised:
            semfed.run(**failing, jobs=jobs, out=tmp_path / str(jobs))
        found.append(str(raised.value))
    with pytest.raises(FederationError) as raised:
        semfed.run(resume=tmp_path / "2", jobs=1)
    assert found == [str(raised.value)] * 2
    one, two = (without_figures(content(tmp_path / str(jobs))) for jobs in (1, 2))
    assert {name: digest for name, digest in two.items() if not name.startswith(("trials/", "errors"))} == {
        name: digest for name, digest in one.items() if not name.startswith("errors")
    }


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often a client of this process has trained since the last question."""
    calls, fit = [0], Learner.fit

    def counted(self: Learner, *args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(Learner, "fit", counted)

    def since() -> int:
        found, calls[0] = calls[0], 0
        return found

    return since


def test_what_is_kept_is_not_trained_again(alone: dict[str, str], fitted: Callable[[], int], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    semfed.run(**GIVEN, jobs=1, cache=kept, out=tmp_path / "first")
    assert fitted() == TRIALS * 2 * 3
    assert content(tmp_path / "first") == alone
    assert len(list(kept.iterdir())) == TRIALS
    semfed.run(**GIVEN, jobs=2, cache=kept, out=tmp_path / "again")
    assert fitted() == 0
    assert content(tmp_path / "again") == alone
    more = {**GIVEN, "seeds": [2, 1], "arms": ["individual"], "sweep": "channel.snr_db=5,10"}
    semfed.run(**more, cache=kept, out=tmp_path / "more")
    assert fitted() == 3 * 2 * 3  # one of four was there
    semfed.run(**more, out=tmp_path / "afresh")
    assert content(tmp_path / "more") == content(tmp_path / "afresh")


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": [3]},
        {"overrides": ["rounds=2", "training.epochs=1", "training.lr=0.02"]},
        {"overrides": ["rounds=3", "training.epochs=1"]},
        {"overrides": ["rounds=2", "training.epochs=1", "data.mean=[0.1]"]},
        {"cohort": 3},
    ],
)  # fmt: skip
def test_what_would_give_other_numbers_is_trained(
    change: dict[str, Any], fitted: Callable[[], int], tmp_path: Path
) -> None:
    small = {**GIVEN, "sweep": None, "arms": ["individual"], "seeds": [0]}
    semfed.run(**small, cache=tmp_path / "kept", out=tmp_path / "first")
    fitted()
    semfed.run(**{**small, **change}, cache=tmp_path / "kept", out=tmp_path / "other")
    assert fitted() > 0


def test_a_trial_in_which_a_client_failed_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    small = {**GIVEN, "sweep": None, "arms": ["individual"], "seeds": [0]}
    away = [*GIVEN["overrides"], "learner=absent:Multitask"]
    done = semfed.run(**{**small, "overrides": away}, cache=tmp_path / "kept", out=tmp_path / "run")
    assert any(record.note for record in folders.each_record(done.folder))
    assert list((tmp_path / "kept").iterdir()) == []


def test_other_code_makes_other_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module beside the scenario is called the same, whatever it does."""
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "coded_beside.py"
    module.write_text("from semfed.clients.multitask import MultitaskClient\n\nclass Own(MultitaskClient):\n    pass\n")
    scenario = overrides.load("digits", ["learner=coded_beside:Own"])

    def key(seed: int = 0) -> str:
        return KeptTrials(tmp_path / "kept", scenario, None, ProcessCache()).key("clustered", seed)

    before = key()
    assert (before, key(1)) == (key(), key(1))
    assert before != key(1)
    module.write_text(module.read_text() + "    rate = 2\n")
    assert key() != before


def test_what_is_kept_and_damaged_is_told_of_and_trained_again(
    alone: dict[str, str], fitted: Callable[[], int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / "kept"
    semfed.run(**GIVEN, jobs=1, cache=kept, out=tmp_path / "first")
    fitted()
    entry = sorted(kept.iterdir())[0]
    path = entry / folders.METRICS
    path.write_text(path.read_text().replace("0.", "1.", 1))
    semfed.run(**GIVEN, jobs=1, cache=kept, out=tmp_path / "again")
    assert f"'{entry}' is damaged: the trial is run again" in caplog.text
    assert fitted() == 2 * 3
    assert content(tmp_path / "again") == alone


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"jobs": 0}, "jobs = 0: Input should be greater than or equal to 1"),
        ({"jobs": 2, "engine": "flower"}, "jobs = 2 has no effect with engine 'flower': it is an option of inprocess"),
        ({"jobs": 2, "engine": "ray", "workers": 3}, "workers = 3 has no effect with jobs = 2: "),
        ({"cache": "kept", "engine": "flower"}, "cache = 'kept' has no effect with engine 'flower'"),
    ],
)
def test_where_they_have_no_effect_they_are_refused(options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        semfed.run("digits", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
