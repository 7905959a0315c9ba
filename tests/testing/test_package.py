"""What ``semfed new`` writes is installed, tested, typed and tidy, without anybody's hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from semfed.cli import app
from semfed.testing.templates import KINDS

ROOT = Path(__file__).parents[2]


def new(*words: str, out: Path) -> str:
    """Return what the command says; the last line of an error."""
    result = CliRunner().invoke(app, ["new", *words, "--out", str(out)])
    return result.stdout if result.exit_code == 0 else result.stderr


def call(*words: str, at: Path, beside: Path) -> str:
    """Run a Python module on what is installed beside this environment."""
    environment = {**os.environ, "PYTHONPATH": f"{beside}{os.pathsep}{ROOT}", "MYPYPATH": f"{beside}{os.pathsep}{ROOT}"}
    line = [sys.executable, "-m", *words]
    done = subprocess.run(line, cwd=at, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(target: Path, *packages: Path) -> None:
    """Install packages into a folder, without any index."""
    offline = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    call("pip", "install", *offline, "--target", str(target), *map(str, packages), at=target.parent, beside=target)


def test_a_channel_is_installed_and_passes_its_own_tests(tmp_path: Path) -> None:
    said = new("channel", "rain-fade", out=tmp_path)
    folder = tmp_path / "rain-fade"
    assert str(folder) in said
    assert len((folder / "README.md").read_text().splitlines()) <= 12
    install(tmp_path / "site", folder)
    assert (tmp_path / "site" / "rain_fade" / "py.typed").is_file()
    told = call("pytest", "-rA", "-p", "no:cacheprovider", at=folder, beside=tmp_path / "site")
    assert "test_checks[RainFade-noise_power_is_that_of_the_snr]" in told
    assert "PASSED tests/test_rain_fade.py::test_a_scenario_finds_it" in told
    assert "failed" not in told
    call("ruff", "check", ".", at=folder, beside=tmp_path / "site")
    call("ruff", "format", "--check", ".", at=folder, beside=tmp_path / "site")


@pytest.mark.long
def test_every_kind_is_installed_tested_typed_and_tidy(tmp_path: Path) -> None:
    packages, site = tmp_path / "packages", tmp_path / "site"
    for kind in KINDS:
        new(kind, f"my-{kind}", out=packages)
    folders = sorted(packages.iterdir())
    assert len(folders) == len(KINDS) == 7
    install(site, *folders)
    mode = ["-p", "no:cacheprovider", "--import-mode=importlib", "-rA"]
    told = call("pytest", *mode, *(f"{folder.name}/tests" for folder in folders), at=packages, beside=site)
    assert told.count("PASSED my-") > 60
    assert told.count("finds_it") == 7
    for words in (["check", "."], ["format", "--check", "."]):
        call("ruff", *words, at=packages, beside=site)
    typed = [f"{folder.name}/{part}" for folder in folders for part in ("src", "tests")]
    rules = ["--config-file", "my-channel/pyproject.toml", "--cache-dir", str(tmp_path / "types")]
    call("mypy", *rules, *typed, at=packages, beside=site)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("chanel", "rain", "there is no kind 'chanel' of part; did you mean 'channel'?"),
        ("channel", "Rain", "name 'Rain': write small letters and digits, in words joined by hyphens"),
        ("channel", "rain_fade", "write small letters and digits"),
        ("channel", "../rain", "write small letters and digits"),
        ("channel", "class", "write small letters and digits"),
        ("channel", "awgn", "name 'awgn': there is a part of that name among the channels; take another one"),
        ("channel", "torch", "name 'torch': Python has a module 'torch' already; take another name"),
    ],
)
def test_what_cannot_be_a_package_is_refused(kind: str, name: str, words: str, tmp_path: Path) -> None:
    assert words in new(kind, name, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "rain").mkdir()
    assert f"'{tmp_path / 'rain'}' is there already: take another name, or another --out" in new(
        "channel", "rain", out=tmp_path
    )
    assert list((tmp_path / "rain").iterdir()) == []
    (tmp_path / "file").touch()
    assert "cannot be written" in new("channel", "rain", out=tmp_path / "file")
