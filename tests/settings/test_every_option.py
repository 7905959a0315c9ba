"""Every option of the command line changes a number, a file or what is said."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from typer.testing import CliRunner

from semfed.cli import app
from semfed.engine.inprocess import InProcessGrid
from semfed.report import plots

from . import bases, inventory
from .test_every_setting import fingerprint


class Shell:
    """Runs commands on a tiny scenario with two arms, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, 0
        self.file = str(folder / "tiny.toml")
        tree = bases.BASES["fedavg"]() | {"arms": [{"name": "one"}, {"name": "two", "training": {"lr": 0.03}}]}
        (folder / "tiny.toml").write_text(tomli_w.dumps(tree))
        images = bases.BASES["images"]()
        (folder / "images.toml").write_text(tomli_w.dumps(images))
        bases.write_data(folder / "data")

    def __call__(self, *words: str) -> str:
        """Return what a command says, without what differs from call to call."""
        result = CliRunner().invoke(app, list(words), env={"SEMFED_DATA": ""})
        assert "Traceback" not in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return re.sub(r"\d+\.\d+ s|run-\d+", "", result.output)

    def run(self, *words: str, file: str = "") -> str:
        """Return the fingerprint of a run's folder, or what is said against the run."""
        self.runs += 1
        out = self.folder / f"run-{self.runs}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plots, "plot", lambda folder: [])
            said = self("run", file or self.file, "--out", str(out), *words)
        return fingerprint(out) if (out / "summary.json").is_file() else said


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"))


def _scenario(shell: Shell) -> tuple[str, str]:
    return shell.run(), shell.run(file="digitz")


def _engine(shell: Shell) -> tuple[str, str]:
    return shell.run(), shell.run("--engine", "spark")


def _arms(shell: Shell) -> tuple[str, str]:
    return shell.run(), shell.run("--arms", "two")


def _seeds(shell: Shell) -> tuple[str, str]:
    return shell.run(), shell.run("--seeds", "1")


def _set(shell: Shell) -> tuple[str, str]:
    return shell.run(), shell.run("--set", "snr_db=-5")


def _sweep(shell: Shell) -> tuple[str, str]:
    return shell.run(), shell.run("--sweep", "snr_db=-5,0")


def _data_root(shell: Shell) -> tuple[str, str]:
    images = str(shell.folder / "images.toml")
    return shell.run(file=images), shell.run("--data-root", str(shell.folder / "data"), file=images)


def _out(shell: Shell) -> tuple[str, str]:
    shell("run", shell.file, "--out", str(shell.folder / "mine"))
    assert (shell.folder / "mine" / "summary.json").is_file()
    return "", shell("run", shell.file, "--out", str(shell.folder / "mine"))


def _resume(shell: Shell) -> tuple[str, str]:
    return shell.run(), shell("run", "--resume", str(shell.folder / "nothing"))


def _workers(shell: Shell) -> tuple[str, str]:
    return shell.run("--workers", "0", "--engine", "ray"), shell.run("--workers", "1")


def _ray_address(shell: Shell) -> tuple[str, str]:
    return shell.run(), shell.run("--ray-address", "127.0.0.1:1")


def _gpus(shell: Shell) -> tuple[str, str]:
    return shell.run(), shell.run("--engine", "ray", "--gpus-per-worker", "-1")


def _state_memory(shell: Shell) -> tuple[str, str]:
    """States beyond the memory lie on disk while the run goes on."""
    with pytest.MonkeyPatch.context() as patch:
        found: list[int] = []
        close = InProcessGrid.close

        def look(grid: InProcessGrid) -> None:
            found.append(grid.nodes._spill.disk_bytes)
            close(grid)

        patch.setattr(InProcessGrid, "close", look)
        shell.run("--set", "strategy.exchange=false")
        shell.run("--set", "strategy.exchange=false", "--state-memory", "0")
    assert found[1] > 0
    return str(found[0]), str(found[1])


def _cohort(shell: Shell) -> tuple[str, str]:
    return shell.run(), shell.run("--cohort", "2")


def _together(shell: Shell) -> tuple[str, str]:
    return shell.run("--seeds", "0,1"), shell.run("--seeds", "0,1", "--together", "2", "--cohort", "6")


def _jobs(shell: Shell) -> tuple[str, str]:
    """The folder is the same, so what differs is what is said: a line a trial instead of a line a round."""
    alone, beside = (
        shell("run", shell.file, "--seeds", "0", "--out", str(shell.folder / f"run-jobs-{jobs}"), "--jobs", jobs)
        for jobs in ("1", "2")
    )
    assert "one, seed 0, round 1" in alone
    assert "2 trials side by side: as asked for" in beside
    assert "one, seed 0: 1 rounds in" in beside
    return alone, beside


def _cache(shell: Shell) -> tuple[str, str]:
    """Kept trials are told again by what they took then."""
    kept = shell.folder / "kept"
    shell("run", shell.file, "--out", str(shell.folder / "run-kept"), "--cache", str(kept))
    shell("run", shell.file, "--out", str(shell.folder / "run-kept-again"), "--cache", str(kept))
    before, after = ((shell.folder / name / "timing.jsonl").read_text() for name in ("run-kept", "run-kept-again"))
    assert before == after
    return "", str(len(list(kept.iterdir())))


def _callback(shell: Shell) -> tuple[str, str]:
    return shell.run(), shell.run("--callback", "json:dumps")


def _track(shell: Shell) -> tuple[str, str]:
    before, after = shell.run(), shell.run("--track", "tensorboard")
    assert list((shell.folder / f"run-{shell.runs}" / "tensorboard").glob("*/events*"))
    return before, after


def _profile(shell: Shell, *words: str) -> str:
    said = shell("profile", shell.file, *words)
    return "\n".join(line for line in said.splitlines() if "mean of" in line or "error" in line)


def _profile_arm(shell: Shell) -> tuple[str, str]:
    return _profile(shell), _profile(shell, "--arm", "three")


def _profile_engine(shell: Shell) -> tuple[str, str]:
    return _profile(shell), _profile(shell, "--engine", "flower")


def _profile_rounds(shell: Shell) -> tuple[str, str]:
    three = ("--set", "rounds=3")
    assert "arm 'one' has 3; give 1 to 3" in _profile(shell, *three, "--rounds", "4")
    return _profile(shell, *three), _profile(shell, *three, "--rounds", "1")


def _profile_set(shell: Shell) -> tuple[str, str]:
    return _profile(shell), _profile(shell, "--set", "fraction_train=0.4")


def _profile_workers(shell: Shell) -> tuple[str, str]:
    return _profile(shell), _profile(shell, "--workers", "2")


def _profile_data_root(shell: Shell) -> tuple[str, str]:
    images = str(shell.folder / "images.toml")
    return shell("profile", images), shell("profile", images, "--data-root", str(shell.folder / "data"))


def _profile_scenario(shell: Shell) -> tuple[str, str]:
    return _profile(shell), shell("profile", "digitz")


def _show_set(shell: Shell) -> tuple[str, str]:
    return shell("show", shell.file), shell("show", shell.file, "--set", "snr_db=1")


def _show_scenario(shell: Shell) -> tuple[str, str]:
    return shell("show", shell.file), shell("show", "digits")


def _plot_folder(shell: Shell) -> tuple[str, str]:
    shell("run", shell.file, "--out", str(shell.folder / "drawn"))
    return shell("plot", str(shell.folder / "drawn")), shell("plot", str(shell.folder))


def _data_folder(shell: Shell) -> tuple[str, str]:
    return shell("data", str(shell.folder / "data" / "pictures")), shell("data", str(shell.folder))


def _predict(shell: Shell, *words: str, image: str = "0") -> str:
    """Send a picture through a link of a run on pictures like it, which has two arms."""
    if not (shell.folder / "linked").exists():
        tree = bases.BASES["images"]() | {"seeds": [0, 1], "arms": [{"name": "one"}, {"name": "two", "rounds": 2}]}
        (shell.folder / "linked.toml").write_text(tomli_w.dumps(tree))
        root = ("--data-root", str(shell.folder / "data"), "--out", str(shell.folder / "linked"))
        shell("run", str(shell.folder / "linked.toml"), *root)
    picture = shell.folder / "data" / "pictures" / "left" / f"{image}.png"
    return shell("predict", str(shell.folder / "linked"), str(picture), *words)


def _predict_folder(shell: Shell) -> tuple[str, str]:
    return _predict(shell), shell("predict", str(shell.folder), str(shell.folder / "tiny.toml"))


def _predict_images(shell: Shell) -> tuple[str, str]:
    return _predict(shell), _predict(shell, image="1")


def _predict_arm(shell: Shell) -> tuple[str, str]:
    return _predict(shell), _predict(shell, "--arm", "two")


def _predict_seed(shell: Shell) -> tuple[str, str]:
    return _predict(shell), _predict(shell, "--seed", "1")


def _predict_client(shell: Shell) -> tuple[str, str]:
    return _predict(shell), _predict(shell, "--client", "c")


def _predict_noise(shell: Shell) -> tuple[str, str]:
    return _predict(shell), _predict(shell, "--noise", "5")


def _debug(shell: Shell) -> tuple[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "plugins")
        words = ["run", shell.file, "--set", "learner=absent:Joint", "--out", str(shell.folder / "run-debug")]
        without = CliRunner().invoke(app, words).output
        given = CliRunner().invoke(app, [*words[:-1], f"{words[-1]}-2", "--debug"]).output
    assert "RuntimeError: away" in without
    assert "Traceback" not in without
    return "", "Traceback" if "Traceback" in given else ""


def _told(shell: Shell, command: str, *options: str) -> tuple[str, str]:
    """Return what a command says of a run without options and with them."""
    done = shell.folder / "told"
    if not done.is_dir():
        shell("run", shell.file, "--seeds", "0-1", "--out", str(done))
    return shell(command, str(done)), shell(command, str(done), *options)


def _compare_runs(shell: Shell) -> tuple[str, str]:
    other = shell.folder / "told-other"
    shell("run", shell.file, "--seeds", "0-1", "--set", "training.lr=0.05", "--out", str(other))
    return _told(shell, "compare", str(other))


def _table_folder(shell: Shell) -> tuple[str, str]:
    return shell("table", str(shell.folder)), _told(shell, "table")[0]


def _new_kind(shell: Shell) -> tuple[str, str]:
    written = {}
    for kind in ("channel", "model"):
        shell("new", kind, "first", "--out", str(shell.folder / kind))
        written[kind] = (shell.folder / kind / "first" / "pyproject.toml").read_text()
    return written["channel"], written["model"]


def _new_name(shell: Shell) -> tuple[str, str]:
    return tuple(shell("new", "channel", name, "--out", str(shell.folder / "named")) for name in ("one", "other"))  # type: ignore[return-value]


def _new_out(shell: Shell) -> tuple[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shell.folder)
        shell("new", "channel", "here")
        shell("new", "channel", "here", "--out", "there")
    assert (shell.folder / "here" / "README.md").is_file()
    return "", (shell.folder / "there" / "here" / "README.md").read_text()


def _report_runs(shell: Shell) -> tuple[str, str]:
    return shell("report", str(shell.folder)), shell("report", str(shell.folder / "nothing"))


def _report_out(shell: Shell) -> tuple[str, str]:
    shell("run", shell.file, "--out", str(shell.folder / "reported"))
    page = str(shell.folder / "page.html")
    return shell("report", str(shell.folder / "reported")), shell(
        "report", str(shell.folder / "reported"), "--out", page
    )


WAYS: dict[str, Callable[[Shell], tuple[str, str]]] = {
    "run scenario": _scenario,
    "run --engine": _engine,
    "run --arms": _arms,
    "run --seeds": _seeds,
    "run --set": _set,
    "run --sweep": _sweep,
    "run --data-root": _data_root,
    "run --out": _out,
    "run --resume": _resume,
    "run --workers": _workers,
    "run --ray-address": _ray_address,
    "run --gpus-per-worker": _gpus,
    "run --state-memory": _state_memory,
    "run --debug": _debug,
    "run --cohort": _cohort,
    "run --together": _together,
    "run --jobs": _jobs,
    "run --cache": _cache,
    "run --callback": _callback,
    "run --track": _track,
    "profile scenario": _profile_scenario,
    "profile --arm": _profile_arm,
    "profile --engine": _profile_engine,
    "profile --rounds": _profile_rounds,
    "profile --set": _profile_set,
    "profile --workers": _profile_workers,
    "profile --data-root": _profile_data_root,
    "show scenario": _show_scenario,
    "show --set": _show_set,
    "compare runs": _compare_runs,
    "compare --metric": lambda shell: _told(shell, "compare", "--metric", "f1/average"),
    "compare --reference": lambda shell: _told(shell, "compare", "--reference", "two"),
    "compare --target": lambda shell: _told(shell, "compare", "--target", "0.1"),
    "table folder": _table_folder,
    "table --format": lambda shell: _told(shell, "table", "--format", "csv"),
    "table --metric": lambda shell: _told(shell, "table", "--metric", "f1/average"),
    "data folder": _data_folder,
    "plot folder": _plot_folder,
    "predict folder": _predict_folder,
    "predict images": _predict_images,
    "predict --arm": _predict_arm,
    "predict --seed": _predict_seed,
    "predict --client": _predict_client,
    "predict --noise": _predict_noise,
    "plugins name": lambda shell: (shell("plugins", "awgn"), shell("plugins", "mlp")),
    "plugins --group": lambda shell: (shell("plugins", "iid"), shell("plugins", "iid", "--group", "models")),
    "new kind": _new_kind,
    "new name": _new_name,
    "new --out": _new_out,
    "report runs": _report_runs,
    "report --out": _report_out,
}
"""By option, what is left behind or said without it and with it."""


def test_every_option_has_a_way() -> None:
    assert inventory.options() == sorted(WAYS)


@pytest.mark.parametrize("option", list(WAYS))
def test_an_option_changes_something(option: str, shell: Shell) -> None:
    without, given = WAYS[option](shell)
    assert given
    assert without != given


ELSEWHERE = [
    (("--workers", "2"), "workers = 2 has no effect with engine 'inprocess': it is an option of ray"),
    (("--ray-address", "x:1"), "ray_address = 'x:1' has no effect with engine 'inprocess': it is an option of ray"),
    (("--gpus-per-worker", "0"), "gpus_per_worker = 0.0 has no effect with engine 'inprocess'"),
    (("--engine", "flower", "--workers", "2"), "workers = 2 has no effect with engine 'flower'"),
    (("--engine", "flower", "--cohort", "1"), "cohort = 1 has no effect with engine 'flower'"),
    (("--engine", "flower", "--state-memory", "9"), "state_memory_mb = 9.0 has no effect with engine 'flower'"),
    (("--engine", "ray", "--cohort", "2"), "cohort = 2 has no effect with engine 'ray'"),
    (("--state-memory", "-5"), "state_memory_mb = -5.0: Input should be greater than or equal to 0"),
    (("--state-memory", "nan"), "state_memory_mb = nan: Input should be a finite number"),
    (("--cohort", "-1"), "cohort = -1: Input should be greater than or equal to 1"),
    (("--engine", "ray", "--workers", "0"), "workers = 0: Input should be greater than or equal to 1"),
    (
        ("--engine", "ray", "--gpus-per-worker", "-0.5"),
        "gpus_per_worker = -0.5: Input should be greater than or equal to 0",
    ),
    (("--cohort", "many"), "cohort = 'many': Input should be a valid integer"),
    (("--together", "0"), "together = 0: Input should be greater than or equal to 1"),
    (("--together", "2", "--seeds", "0"), "together = 2 has no effect: there is one seed"),
    (("--together", "2", "--jobs", "2"), "together = 2 and jobs = 2: seeds train side by side in one process, or in"),
    (("--jobs", "0"), "jobs = 0: Input should be greater than or equal to 1"),
    (("--jobs", "2", "--engine", "ray", "--workers", "3"), "workers = 3 has no effect with jobs = 2: a trial"),
    (("--cache", "kept", "--engine", "flower"), "has no effect with engine 'flower': it is an option of inprocess and"),
    (("--cache", __file__), "cannot be made (File exists): give another one"),
    (("--seeds", "0-3000000000"), "more than 10000; write fewer"),
    (("--seeds", "0", "--set", "seeds=[1]"), "override 'seeds=[1]': 'seeds=0' replaces it; leave one of them out"),
    (("--arms", "two", "--set", "training.lr=0.5"), "every arm that runs sets training.lr itself"),
    (("--arms", "one", "--set", "arms.two.training.lr=0.5"), "arm 'two' does not run; choose it with --arms"),
    (("--set", "snr_db=1", "--set", "snr_db=2"), "override 'snr_db=1': 'snr_db=2' replaces it; leave one of them out"),
    (("--set", "snr_db=1", "--set", 'channel={name="awgn", uses=4}'), "override 'snr_db=1': 'channel="),
    (("--set", "snr_db=1", "--sweep", "snr_db=2,3"), "override 'snr_db=1': every arm that runs sets channel.snr_db"),
    (("--sweep", "snr_db=2,2"), "2 stands there twice"),
    (("--sweep", "snr_db=2,2.0"), "2 stands there twice"),
    (("--sweep", "snr_db=2,3", "--sweep", "channel.snr_db=4"), "sweep 'channel.snr_db' replaces 'channel.snr_db'"),
    (("--sweep", "snr_db=2,,3"), "sweep 'snr_db=2,,3': write PATH=VALUE,VALUE"),
    (("--sweep", "snr_db=0:1:1e-9"), "0:1:1e-9 has more than 10000 values; write fewer"),
    (("--sweep", "lr=2,3", "--set", "arms.two.training.lr=1"), "'arms.two.training.lr=1': the sweep replaces it"),
]


@pytest.mark.parametrize(("words", "sentence"), ELSEWHERE, ids=[" ".join(words) for words, _ in ELSEWHERE])
def test_options_without_effect_are_refused_in_one_sentence(
    words: tuple[str, ...], sentence: str, shell: Shell, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = CliRunner().invoke(app, ["run", shell.file, "--out", str(out), *words])
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--arms", "one", "--arms", "two"),
        ("--seeds", "0", "--seeds", "1"),
        ("--engine", "ray", "--engine", "inprocess"),
    ],
)
def test_an_option_that_is_given_twice_is_refused(words: tuple[str, ...], shell: Shell, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["run", shell.file, "--out", str(tmp_path / "run"), *words])
    assert result.exit_code == 2
    assert f"{words[0]} is given 2 times; give it once" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def finished(shell: Shell) -> Path:
    out = shell.folder / "finished"
    shell("run", shell.file, "--out", str(out), "--seeds", "0", "--arms", "one")
    return out


RESUMED: list[tuple[list[str], str]] = [
    (["--set", "rounds=99"], "is a run of another scenario: leave scenario, arms, seeds, overrides and sweep out"),
    (["--set", "training.momentum=0.1"], "is a run of another scenario"),
    (["--arms", "nosuch"], "arm 'nosuch': not in scenario"),
    (["--sweep", "foo"], "sweep 'foo': write PATH=VALUE"),
    (["--sweep", "snr_db=1,2"], "is a run of another scenario"),
    (["--seeds", "7"], "is a run of another scenario"),
    (["--out", "other"], "a run goes on in its own folder"),
    (["--set", "rounds=99", "--arms", "nosuch", "--sweep", "foo", "--seeds", "7", "--out", "other"], "error:"),
]


@pytest.mark.parametrize(("words", "sentence"), RESUMED, ids=[" ".join(words) for words, _ in RESUMED])
def test_options_that_a_resumed_run_cannot_honour_are_refused(
    words: list[str], sentence: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.parent)
    before = fingerprint(finished)
    result = CliRunner().invoke(app, ["run", "--resume", str(finished), *words])
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert fingerprint(finished) == before
    assert not (finished.parent / "other").exists()


@pytest.mark.parametrize(
    "words", [["--seeds", "0"], ["--arms", "one"], ["--set", "rounds=1"], ["--engine", "inprocess"]]
)
def test_options_that_say_what_the_folder_holds_are_honoured(words: list[str], finished: Path) -> None:
    result = CliRunner().invoke(app, ["run", "--resume", str(finished), "--out", str(finished), *words])
    assert result.exit_code == 0
    assert json.loads((finished / "summary.json").read_text())["complete"]
