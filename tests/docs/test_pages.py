"""Every block of every page is run in the page's order, in a folder and a Python of its own; see `tests.docs.pages`."""

import doctest
import importlib
import json
import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from semfed.cli import app
from semfed.scenario import merge, overrides, plugins
from tests.docs.pages import LANGUAGES, MARKS, PAGES, ROOT, SHELL, Block, blocks

ALL = {str(page.relative_to(ROOT)): list(blocks(page)) for page in PAGES}
SLOW = {f"docs/how-to/{name}.md" for name in ("faults", "gpu", "package", "plot", "sweep")}
"""Pages that take ten seconds or more."""
LONG = [name for name, found in ALL.items() if any(block.mark == "long" for block in found)]
OUTPUT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Reader:
    """Somebody who reads a page and does what it says.

    Parameters
    ----------
    folder : Path
        Where they are; it is the current one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "page"}

    def do(self, block: Block) -> None:
        """Do what a block says."""
        if block.mark == "not run":
            check(block)
        elif block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(f"\n{block.text}" if path.stat().st_size else block.text)
            check(block)
        elif block.language in SHELL:
            for command, shown in block.commands:
                self._type(command, shown, refused=block.mark == "refused")
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, "page", "exec"), self.names)
        elif block.language == "toml":
            for part in block.tables:
                self._validate(part)
        else:
            check(block)

    def _type(self, command: str, shown: str, *, refused: bool) -> None:
        self.leave()
        if command.startswith("semfed ") and not set("|&;<>$*") & set(command):  # needs no shell, and no new process
            result = CliRunner().invoke(app, shlex.split(command, comments=True)[1:])
            code, output = result.exit_code, result.output
        else:
            scripts = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-ec", command],
                env={**os.environ, "PATH": scripts},
                capture_output=True,
                text=True,
                check=False,
            )
            code, output = done.returncode, done.stdout + done.stderr
        assert (code != 0) == refused, f"{command}\n{output}"
        assert not shown or doctest.OutputChecker().check_output(shown, output, OUTPUT), f"{command}\n{output}"

    def leave(self) -> None:
        """Forget the modules of the folder, as the end of a process does."""
        for name, module in list(sys.modules.items()):
            if str(vars(module).get("__file__")).startswith(str(self.folder)):
                del sys.modules[name]
        importlib.invalidate_caches()

    def _validate(self, part: dict[str, Any]) -> None:
        """Lay a part of a scenario over the embedded one, whose arms are left out unless the part has its own."""
        self.leave()
        base = overrides.load("digits").draft()
        del base["arms"]
        plugins.search_in(self.folder)
        overrides.load(merge(base, part))


def check(block: Block) -> None:
    """Parse what is not run: Python, TOML and JSON as such, commands by the shell, and semfed's by its own parser."""
    if block.language == "python":
        compile(block.text, "page", "exec")
    elif block.language == "toml":
        assert block.tables
    elif block.language == "json":
        json.loads(block.text)
    elif block.language in SHELL:
        for command, _ in block.commands:
            subprocess.run(["bash", "-nc", command], check=True)
            words = shlex.split(command, comments=True)
            if words[0] == "semfed":
                parse(words[1:])


def parse(words: list[str]) -> None:
    """Let the command line take options and arguments without doing anything."""
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    command = group.get_command(click.Context(group), words[0])
    assert command is not None, words
    command.make_context(words[0], words[1:])


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEMFED_DATA", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    reader = Reader(tmp_path)
    yield reader
    reader.leave()


@pytest.mark.parametrize("page", ALL)
def test_every_block_is_of_a_known_kind(page: str) -> None:
    for block in ALL[page]:
        where = f"{page}:{block.line}"
        assert block.language in LANGUAGES, where
        assert block.mark in ("", *MARKS), where
        assert bool(block.reason) == (block.mark == "not run"), f"{where}: say why it is not run, and of no other"
    assert (ROOT / page).read_text(encoding="utf-8").count("```") == 2 * len(ALL[page])


@pytest.mark.parametrize(
    "page",
    [pytest.param(name, marks=pytest.mark.long if name in SLOW else ()) for name, found in ALL.items() if found],
)
def test_a_page_does_what_it_says(page: str, reader: Reader) -> None:
    for block in ALL[page]:
        check(block) if block.mark == "long" else reader.do(block)


@pytest.mark.long
@pytest.mark.parametrize("page", LONG)
def test_a_page_does_what_it_says_with_its_long_blocks(page: str, reader: Reader) -> None:
    for block in ALL[page]:
        reader.do(block)
