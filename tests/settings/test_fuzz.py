"""Whatever scenarios and options say, it can be run or one sentence says why not: never a traceback."""

import shutil
import tomllib
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import semfed
from semfed.cli import app
from semfed.errors import SemfedError
from semfed.flower import preflight
from semfed.flower.client.cache import ProcessCache
from semfed.scenario import Scenario, overrides

from .bases import BASES, write_data
from .mutations import KEYS, NUMBERS, SCALARS, SEEDS, TEXTS, VALUES, mutated, paths

WORKER = ProcessCache()
SMALL = [make() for make in BASES.values()]


def amount(few: int, many: int) -> Any:
    """Run a test with a few examples, and among the long ones with many."""
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.long, id="many")])


def explore(test: Callable[..., None], examples: int) -> None:
    """Let Hypothesis call a test that it has been given to."""
    phases = (Phase.generate, Phase.shrink)
    settings(max_examples=examples, derandomize=True, database=None, deadline=None, phases=phases,
             suppress_health_check=list(HealthCheck))(test)()  # fmt: skip


def outcome(attempt: Callable[[], Any]) -> Any:
    """Return what comes out, None where it is refused in sentences a person can read."""
    try:
        return attempt()
    except SemfedError as error:
        sentence = str(error)
    assert all(line.strip() for line in sentence.split("\n")), sentence
    assert not any(raw in sentence for raw in ("Traceback", "should match pattern", "validation error")), sentence
    assert len(sentence) < 20_000
    return None


def resolved(tree: Any, **options: Any) -> Scenario | None:
    """Resolve a scenario and check what can be checked before a run; what comes out can be written and read again."""

    def attempt() -> Scenario:
        scenario = overrides.load(tree, **options)
        assert overrides.load(tree_of(scenario)) == scenario
        return scenario

    scenario: Scenario | None = outcome(attempt)
    if scenario is not None and light(scenario):
        outcome(lambda: preflight.check(scenario, None, WORKER))
    return scenario


def tree_of(scenario: Scenario) -> dict[str, Any]:
    return tomllib.loads(scenario.to_toml())


def light(scenario: Scenario) -> bool:
    """Whether it takes a moment to look at its data."""
    return len(scenario.seeds) * len(scenario.arm_names) * len(scenario.clients) < 200


@amount(150, 4500)
def test_any_scenario(examples: int) -> None:
    @given(mutated())
    def check(tree: dict[str, Any]) -> None:
        resolved(tree)

    explore(check, examples)


def short(scenario: Scenario) -> bool:
    """Whether it runs in a moment."""
    tree = scenario.tree()
    numbers = [value for value in (at(tree, path) for path in paths(tree)) if isinstance(value, int)]
    return light(scenario) and len(scenario.clients) <= 6 and max(numbers) <= 130 and scenario.rounds <= 3


def at(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


@amount(8, 300)
def test_any_short_run(
    examples: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the checks before a run let through runs, or ends in one sentence too."""
    write_data(tmp_path)
    monkeypatch.setenv("SEMFED_DATA", str(tmp_path))

    @given(mutated(SMALL, most=2))
    def check(tree: dict[str, Any]) -> None:
        scenario = resolved(tree)
        if scenario is not None and short(scenario):
            out = tmp_path_factory.mktemp("run") / "run"
            outcome(lambda: semfed.run(scenario, out=out))
            shutil.rmtree(out, ignore_errors=True)

    explore(check, examples)


@amount(40, 1500)
def test_any_arguments_from_python(examples: int) -> None:
    anything = st.one_of(st.none(), SCALARS, VALUES, st.binary(max_size=3), st.tuples(VALUES), st.just(object()))
    known = st.sampled_from(["rounds", "channel.snr_db", "tasks.t1.values", "clients.Sat 1.task", "arms.clustered.m"])
    written = st.one_of(TEXTS, st.builds("{}={}".format, known | KEYS, SCALARS | TEXTS | VALUES))
    changes = st.one_of(anything, written, st.lists(written, max_size=3), st.dictionaries(known | KEYS, VALUES))

    @given(changes, st.none() | anything, st.none() | anything, st.none() | written | st.dictionaries(known, VALUES))
    def check(overridden: Any, arms: Any, seeds: Any, sweep: Any) -> None:
        options = {"arms": arms, "seeds": seeds, "sweep": sweep}
        outcome(lambda: overrides.load("digits", () if overridden is None else overridden, **options))

    explore(check, examples)


def told(words: list[str]) -> None:
    """Call the command line: it succeeds, or says what is wrong, by click's own means or in our sentences."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code in (0, 1, 2), (words, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
    assert "Traceback" not in result.output
    if result.exit_code == 1:
        assert result.stderr.startswith("error: ")


@amount(40, 1500)
def test_any_text_in_place_of_a_scenario(examples: int, tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    texts = [tomli_w.dumps(tree) for tree in SEEDS]
    pieces = st.one_of(st.text(max_size=4), st.sampled_from([*'[]{}="\n', "[[", "]]", "1e400", "\\u0"]))

    @given(st.sampled_from(texts), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 20), pieces), max_size=3))
    def check(text: str, edits: list[tuple[float, int, str]]) -> None:
        for place, length, piece in edits:
            start = int(place * len(text))
            text = text[:start] + piece + text[start + length :]
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        told(["show", str(path)])

    explore(check, examples)


@amount(40, 1500)
def test_any_options_of_the_command_line(examples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that comes before the data is done; then it stops."""

    def stop(*_: Any) -> None:
        raise SemfedError("that will do")

    monkeypatch.setattr(preflight, "check", stop)
    monkeypatch.chdir(tmp_path)
    odd = st.one_of(TEXTS, NUMBERS.map(str), st.builds("{}={}".format, KEYS, SCALARS))
    usual = st.sampled_from(["digits", "0-4", "clustered", "channel.snr_db=0,5", "rounds=1", "ray", "flower", "1", "."])
    option = st.sampled_from([
        "--engine", "--arms", "--seeds", "--set", "--sweep", "--data-root", "--out", "--resume", "--workers",
        "--ray-address", "--gpus-per-worker", "--state-memory", "--cohort", "--together", "--arm", "--rounds",
        "--debug", "--odd",
    ])  # fmt: skip
    command = st.sampled_from(["run", "run", "run", "profile", "show", "data", "plot"])
    pairs = st.lists(st.tuples(option, usual | odd).map(list), max_size=3).map(lambda found: [*chain(*found)])

    @given(command, st.lists(usual | odd, max_size=1), pairs)
    def check(name: str, words: list[str], options: list[str]) -> None:
        told([name, *words, *options])

    explore(check, examples)
