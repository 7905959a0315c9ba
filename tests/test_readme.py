"""What the README shows beside what `tests.docs` runs of every page: real data, a federation, figures."""

import os
import re
import shlex
import subprocess
import sysconfig
from pathlib import Path

import pytest
from typer.testing import CliRunner

from semfed.cli import app
from tests.docs.pages import ROOT, blocks

BLOCKS = list(blocks(ROOT / "README.md"))
COMMANDS = [command for block in BLOCKS if block.language == "sh" for command, _ in block.commands]


def test_every_kind_of_command_is_known() -> None:
    assert {command.split()[0] for command in COMMANDS} == {"make", "semfed", "flwr"}
    ci = (ROOT / ".ci" / "run").read_text()
    for command in COMMANDS:
        assert not command.startswith("make") or command in ci, "CI runs what the README shows"


def test_the_command_on_real_data(tmp_path: Path, data_root: Path) -> None:
    (command,) = [command for command in COMMANDS if "DIR" in command]
    words = shlex.split(command.replace("DIR", str(data_root)))
    short = ["--seeds", "0", "--arms", "clustered", "--set", "rounds=1", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*words[1:], *short])
    assert result.exit_code == 0, result.output


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert len(links) > 40
    assert not [link for link in links if "://" not in link and not (ROOT / link.partition("#")[0]).is_file()]


def test_what_came_out_stands_on_the_pages_of_the_papers_as_it_stands_here() -> None:
    """Every row of the README's table of systems, word for word."""
    rows = re.findall(r"^\| \[`[\w-]+`\]\(.*?\| .*? \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    pages = [path.read_text() for path in (ROOT / "docs" / "explanation" / "papers").glob("*.md")]
    assert len(rows) == len(pages) == 6
    assert all(sum(f"> {row}\n" in page for page in pages) == 1 for row in rows)


def test_the_first_results_are_those_of_the_scenario() -> None:
    (told,) = re.findall(
        r"^Over five seeds .*?On real MNIST", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    measured = (ROOT / "scenarios" / "digits" / "README.md").read_text()
    figures = re.findall(r"\d+\.\d\d(?= %)|[+-]\d\.\d\d\s\[.*?\]", told)
    assert len(figures) == 6
    assert all(" ".join(figure.split()) in measured for figure in figures)


@pytest.mark.flower
@pytest.mark.long
def test_the_flower_command(flower_home: dict[str, str], tmp_path: Path) -> None:
    """`flwr run` as a user types it, from elsewhere, with the default federation of two SuperNodes."""
    (command,) = [command for command in COMMANDS if command.startswith("flwr")]
    scripts = sysconfig.get_path("scripts")
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    words = shlex.split(command)
    words[0] = str(Path(scripts) / "flwr")
    words[2] = str(ROOT / words[2])
    environment = {**os.environ, "PATH": path, **flower_home}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (summary,) = (tmp_path / "semfed-runs").glob("digits-*/summary.json")
    assert '"complete": true' in summary.read_text()
    assert "majority class" in done.stdout
