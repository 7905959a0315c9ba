"""What users, scenarios and clients say is shown as it stands: no markup, no emoji, and in any encoding."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from semfed.events.metrics import FRAMEWORK, Metrics
from semfed.events.records import Record
from semfed.report import tables
from semfed.runs import terminal
from semfed.runs.progress import Progress
from semfed.scenario import overrides

TONES = "".join(map(chr, range(0x1F3FB, 0x1F400)))
"""Skin tones change the character before them; alone, rich gives them no room in a table."""
LETTERS = st.characters(codec="utf-8", exclude_categories=["C", "Z", "M"], exclude_characters=TONES)
WORDS = st.text(LETTERS, min_size=1, max_size=12)
ODD = st.one_of(WORDS, st.sampled_from(["[/x]", "[red]", "Sat [/data/x]", ":smile:", "[link=http://x]y[/link]", "a[b"]))


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def paper() -> Console:
    console = terminal.console(width=400)
    console.file = io.StringIO()
    return console


@given(ODD)
def test_any_text_is_shown_as_it_stands(text: str) -> None:
    console = paper()
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    console.print(text)
    console.print(table)
    assert shown(console).count(text) == 4


@given(name=ODD, note=ODD)
def test_failures_of_clients_with_any_name_and_message_are_shown(name: str, note: str) -> None:
    progress = Progress(paper())
    progress.on_round("arm", 0, 1, [Record("arm", 0, 1, name, "failure/train", 1.0, note)], 0.1)
    assert f"({note})" in shown(progress.console)
    summary = {
        "scenario": "s", "headline": "accuracy/average", "arms": {}, "baselines": {}, "complete": False,
        "clusters": {"a": [[0, 1]]}, "threshold": None, "error": note, "comparisons": {}, "reach": [],
    }  # fmt: skip
    console = paper()
    tables.show(summary, Metrics(FRAMEWORK), console, [name, "another"])
    assert "{" + name + ", another}" in shown(console)
    assert f"incomplete: {note}" in shown(console)


def test_a_log_gets_one_line_a_round_and_a_terminal_a_bar() -> None:
    scenario = overrides.load("digits", ["rounds=3"], seeds=[0], arms=["clustered"])
    progress = Progress(paper())
    progress.on_run_start(scenario)
    progress.on_arm_start("clustered", 0)
    for round_ in range(4):
        progress.on_round("clustered", 0, round_, [], 0.25)
    progress.on_run_end(None)
    assert shown(progress.console).splitlines() == [
        f"clustered, seed 0, round {round_}: 0.25 s/round" for round_ in (1, 2, 3)
    ]


@pytest.fixture
def named(tmp_path: Path) -> Path:
    tree = overrides.load("digits", ["rounds=1", "training.epochs=1"], arms=["clustered"], seeds=[0]).tree()
    for client, name in zip(tree["clients"], ("Süd [/x]", "東", ":smile:"), strict=True):
        client["name"] = name
    (tmp_path / "named.toml").write_text(tomli_w.dumps(tree), encoding="utf-8")
    return tmp_path / "named.toml"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_of_any_alphabet_come_out_of_a_run(named: Path, tmp_path: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C", "COLUMNS": "200"}
    line = [sys.executable, "-m", "semfed", "run", str(named), "--out", str(tmp_path / "run")]
    done = subprocess.run(line, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    names = ["Süd [/x]", "東", ":smile:"]
    told = [name if encoding == "utf-8" else name.encode("ascii", "backslashreplace").decode() for name in names]
    assert all(name in done.stdout.decode(encoding) for name in told)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="becomes another user by setpriv")
def test_an_unknown_user_without_a_home(tmp_path: Path) -> None:
    """As in a container that is started with any user's number."""
    for path in (tmp_path, *tmp_path.parents):
        if path.name.startswith(("pytest-", "popen-", "test_")):
            path.chmod(0o777)
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "SEMFED_CACHE")}
    user = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", sys.executable, "-m", "semfed"]

    def run(name: str, **more: str) -> subprocess.CompletedProcess[str]:
        words = ["run", "digits", "--seeds", "0", "--set", "rounds=1", "--out", str(tmp_path / name)]
        return subprocess.run(
            [*user, *words], env=environment | more, cwd="/", capture_output=True, text=True, check=False
        )

    if subprocess.run([*user, "--version"], env=environment, cwd="/", capture_output=True, check=False).returncode:
        pytest.skip("this interpreter belongs to root alone")
    done = run("told", SEMFED_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    refused = run("untold")
    assert refused.returncode == 1
    assert refused.stderr == "error: there is no home folder to keep decoded images in: set SEMFED_CACHE to a folder\n"
