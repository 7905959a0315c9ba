import json
import re
from pathlib import Path

import pytest
from click import Argument, Command
from typer.main import get_command
from typer.testing import CliRunner, Result

from semfed.cli import app


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_run_shows_the_table_and_where_things_are(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = call(
        "run", "digits", "--seeds", "0", "--arms", "clustered,individual", "--set", "rounds=1", "--out", str(out)
    )
    assert result.exit_code == 0
    for words in ("majority", "{Sat 1, Sat 2}  {Sat 3}", str(out / "plots")):
        assert words in result.stdout
    assert json.loads((out / "summary.json").read_text())["complete"]
    redrawn = call("plot", str(out))
    assert redrawn.exit_code == 0
    assert "similarity.png" in redrawn.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "digitz"), "did you mean 'digits'?"),
        (("run", "digits", "--set", "rouns=1"), "did you mean 'rounds'?"),
        (("run", "digits", "--seeds", "x"), "write numbers and ranges"),
        (("run", "digits", "--engine", "spark"), "engine 'spark' is unknown"),
        (("plot", "."), "'.' is not a run folder: it holds no scenario.toml"),
        (("show", "nothing"), "no scenario 'nothing'"),
    ],
)
def test_mistakes_get_one_sentence_and_exit_code_one(arguments: tuple[str, ...], words: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert words in result.stderr


def test_list_show_and_plugins() -> None:
    assert "clustered-mnist" in call("list").stdout
    shown = call("show", "digits", "--set", "snr_db=3")
    assert "snr_db = 3.0" in shown.stdout
    for name in ("clustered", "multitask", "awgn", "imagefolder"):
        assert name in call("plugins").stdout


COMMANDS: dict[str, Command] = get_command(app).commands  # type: ignore[attr-defined]  # it is a group
ARGUMENTS = {
    "run": "not needed to resume.",
    "profile": "a TOML file.",
    "show": "a TOML file.",
    "data": "or of train and test.",
    "plot": "A run folder.",
    "report": "several are set side by side.",
    "predict": "Image files, of the size of the run's.",
    "compare": "of one, its arms are compared.",
    "table": "A run folder.",
    "plugins": "Show this part with its settings.",
    "new": "such as my-channel.",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_argument(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    shown = re.sub(r"[│\s]+", " ", call(name, "--help").output)
    texts = [parameter.help for parameter in COMMANDS[name].params if isinstance(parameter, Argument)]
    assert all(text and text in shown for text in texts)
    assert bool(texts) == (name in ARGUMENTS)
    assert ARGUMENTS.get(name, "") in shown
