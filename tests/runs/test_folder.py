import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from semfed.errors import RunFolderError
from semfed.events.records import Record
from semfed.runs import folder


def test_an_empty_folder_is_taken_and_a_used_one_is_not(tmp_path: Path) -> None:
    assert folder.create(tmp_path / "a" / "b") == (tmp_path / "a" / "b").resolve()
    (tmp_path / "a" / "b" / "metrics.jsonl").write_text("")
    with pytest.raises(RunFolderError, match="is not empty: give another --out"):
        folder.create(tmp_path / "a" / "b")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written"):
        folder.create(tmp_path / "file" / "run")


def test_only_complete_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert list(folder.each_line(path)) == []
    path.write_text("one\ntwo\nthr")
    assert list(folder.each_line(path)) == ["one", "two"]
    record = Record("arm", 0, 1, None, "accuracy/average", 0.5)
    (tmp_path / folder.METRICS).write_text(f"{record.to_json()}\n{record.to_json()[:-1]}")
    assert folder.read_records(tmp_path) == [record]


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not a run folder"):
        folder.read_records(tmp_path)
    (tmp_path / folder.METRICS).write_text("{]\n")
    with pytest.raises(RunFolderError, match="is damaged"):
        folder.read_records(tmp_path)
    with pytest.raises(RunFolderError, match="cannot be read"):
        folder.read_json(tmp_path / "summary.json")


def test_runs_that_start_together_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: folder.default_folder("digits", tmp_path / "runs"), range(24)))
    assert len(set(made)) == 24
    assert all(path.is_dir() for path in made)


def test_a_file_system_without_locks_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    folder.lock(tmp_path).close()
    assert "lies on a file system without locks (No locks available)" in caplog.text
