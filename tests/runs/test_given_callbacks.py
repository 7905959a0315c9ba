"""Callbacks that are named: found where a person has put them, told of the run, or refused in one sentence."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import semfed
from semfed.cli import app
from semfed.errors import ScenarioError
from semfed.events.callbacks import Callback

MODULE = """
from semfed.events.callbacks import Callback

class Rounds(Callback):
    def on_round(self, arm, seed, round_, records, seconds):
        with open("told.txt", "a") as file:
            file.write(f"{type(self).__name__} {arm} {seed} {round_}\\n")

class Named(Rounds):
    def __init__(self, name):
        self.name = name

made = Rounds()

def factory():
    return Named("x")

number = 3

class Other:
    pass
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / f"mine_{tmp_path.name}.py").write_text(MODULE.replace("\\\\", "\\"))
    return tmp_path


@pytest.mark.parametrize(("attribute", "kind"), [("Rounds", "Rounds"), ("made", "Rounds"), ("factory", "Named")])
def test_the_command_line_tells_them_of_the_run(here: Path, attribute: str, kind: str) -> None:
    name = f"mine_{here.name}:{attribute}"
    options = ["--seeds", "0", "--arms", "individual", "--set", "rounds=2", "--set", "training.epochs=1"]
    done = CliRunner().invoke(app, ["run", "digits", *options, "--callback", name, "--callback", name, "--out", "run"])
    assert done.exit_code == 0, done.output
    lines = (here / "told.txt").read_text().split("\n")
    assert lines == [line for k in range(3) for line in 2 * [f"{kind} individual 0 {k}"]] + [""]


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        (":Other", "is no semfed.events.callbacks.Callback, but of type Other: derive its class from it"),
        (":number", "is no semfed.events.callbacks.Callback, but of type int"),
        (":Named", "cannot be made without arguments (TypeError"),
        (":Nothing", "cannot be loaded"),
        ("", "write it as module:attribute"),
    ],
)
def test_what_is_no_callback_is_refused_before_training(here: Path, attribute: str, said: str) -> None:
    with pytest.raises(ScenarioError) as told:
        semfed.run("digits", callbacks=[f"mine_{here.name}{attribute}"], out="run")
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert not (here / "run").exists()


def test_a_class_is_no_callback_yet(tmp_path: Path) -> None:
    class Mine(Callback):
        pass

    with pytest.raises(ScenarioError, match=r"Mine is a class: give an object of it, .*Mine\(\)"):
        semfed.run("digits", callbacks=[Mine], out=tmp_path / "run")  # type: ignore[list-item]


def test_an_event_that_does_not_exist_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match=r"Mine.on_rounds: callbacks hear of no such thing; did you mean on_round\?"):
        type("Mine", (Callback,), {"on_rounds": lambda self: None})
