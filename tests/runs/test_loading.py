import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import semfed
from semfed.errors import RunFolderError

ONE_ROUND = ["rounds=1", "training.epochs=1"]


def test_a_run_is_loaded_from_its_folder_as_it_was_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = semfed.run("digits", arms="individual", seeds=[3], overrides=ONE_ROUND, out=tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    loaded = semfed.load("elsewhere")
    assert loaded.folder == tmp_path / "elsewhere"
    assert loaded.scenario == done.scenario
    assert loaded.summary == done.summary


def test_what_is_no_finished_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"^'.*nowhere' is not a run folder: it has no scenario\.toml$"):
        semfed.load(tmp_path / "nowhere")
    done = semfed.run("digits", arms="individual", seeds=[3], overrides=ONE_ROUND, out=tmp_path / "run")
    (done.folder / "summary.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"summary\.json' cannot be read"):
        semfed.load(done.folder)
    (done.folder / "summary.json").unlink()
    with pytest.raises(RunFolderError, match=r"has no summary\.json yet: let the run end, or go on with semfed run"):
        semfed.load(done.folder)


def test_a_run_with_parts_of_its_own_is_loaded_where_these_are_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "plugins")
    own = [*ONE_ROUND, "learner=precise:PreciseClient"]
    done = semfed.run("digits", arms="clustered", seeds=[0], overrides=own, out=tmp_path / "run")
    asked = f"import semfed; print(semfed.load({str(done.folder)!r}).scenario.learner.name)"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=tmp_path)
    assert told.stdout == "precise:PreciseClient\n", told.stderr
