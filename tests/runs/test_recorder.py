"""What a run folder says of the command that made it, and who may read that."""

import json
import sys
from pathlib import Path

import pytest

import semfed
from semfed.runs.recorder import without_secrets


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["--token", "abc", "--root-certificates", "ca.crt"], ["--token", "***", "--root-certificates", "ca.crt"]),
        (["--token=abc", "--parent-pid", "7"], ["--token=***", "--parent-pid", "7"]),
        (["--superexec-auth-secret-file", "/srv/a"], ["--superexec-auth-secret-file", "***"]),
        (["run", "digits", "--set", "rounds=1"], ["run", "digits", "--set", "rounds=1"]),
        (["--token"], ["--token"]),
    ],
)
def test_values_of_secret_options_are_hidden(given: list[str], shown: list[str]) -> None:
    assert without_secrets(given) == shown


def test_the_run_folder_keeps_no_token_and_its_owner_alone_reads_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/flwr-serverapp", "--token", "0badc0de", "--parent-pid", "1"])
    done = semfed.run("digits", seeds=[0], arms=["clustered"], overrides=["rounds=1"], out=tmp_path / "run")
    assert not [p for p in done.folder.rglob("*") if p.is_file() and b"0badc0de" in p.read_bytes()]
    described = done.folder / "environment.json"
    assert json.loads(described.read_text())["command"] == "flwr-serverapp --token *** --parent-pid 1"
    assert described.stat().st_mode & 0o777 == 0o600
    assert (done.folder / "metrics.jsonl").stat().st_mode & 0o044
