"""Scenarios, seeds and numbers that no run can have, and files that every reader of JSON takes."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import semfed
from semfed import scenario
from semfed.errors import ScenarioError
from semfed.events import strict_json
from semfed.events.metrics import FRAMEWORK, Metrics
from semfed.events.records import Record
from semfed.runs.folder import read_metrics
from semfed.runs.summary import spread, summarise
from semfed.scenario import overrides

DIGITS = scenario.locate("digits").read_text(encoding="utf-8")


def strict(text: str) -> Any:
    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_byte_order_mark_is_no_part_of_a_scenario(tmp_path: Path) -> None:
    (tmp_path / "marked.toml").write_text(DIGITS, encoding="utf-8-sig")
    assert overrides.load(tmp_path / "marked.toml") == overrides.load("digits")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"rounds = {'9' * 5000}", "cannot be read as TOML"),
        (f"rounds = {'[' * 100_000}", "cannot be read as TOML"),
        (f"rounds = {'[' * 300 + ']' * 300}", "rounds"),
        ("rounds = 9223372036854775808", "rounds is an integer of more than 63 bits"),
        ("seeds = [0, 1, -99999999999999999999]", "seeds.2 is an integer of more than 63 bits"),
        ("rounds = 10000001", "rounds = 10000001: Input should be less than or equal to 10000000"),
        ("seeds = [nan]", "seeds.0"),
        ("timeout_s = inf", "timeout_s = inf: Input should be a finite number"),
    ],
)
def test_scenario_files_that_cannot_be_are_refused_in_a_sentence(text: str, message: str, tmp_path: Path) -> None:
    key = text.split(" ")[0]
    kept = [line for line in DIGITS.splitlines() if not line.startswith(f"{key} =")]
    (tmp_path / "x.toml").write_text("\n".join([text, *kept]))
    with pytest.raises(ScenarioError, match=message) as caught:
        overrides.load(tmp_path / "x.toml")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00", b"name = \xe9"])
def test_files_of_other_encodings_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(ScenarioError, match="x.toml: cannot be read as TOML"):
        overrides.load(tmp_path / "x.toml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr=inf", "training.lr = inf: Input should be a finite number"),
        ("lr=nan", "training.lr = nan: Input should be a finite number"),
        ("training.weight_decay=inf", "Input should be a finite number"),
        ("channel.snr_db=-1e9", "channel.snr_db = -1000000000.0: Input should be greater than or equal to -200"),
        ("channel.snr_db=nan", "channel.snr_db = nan"),
        ("channel.uses=100000000000", "channel.uses = 100000000000: Input should be less than or equal to 1000000"),
        ("data.std=[inf]", "data.std.0 = inf"),
        ("training.epochs=1000000000", "Input should be less than or equal to 100000"),
        ("clients={count=99999999999, task='t1'}", "give .clients. a count from 1 to 1000000"),
        ("rounds=" + "[" * 5000, "rounds"),
        ("rounds=" + "9" * 5000, "rounds"),
    ],
)
def test_settings_have_ranges(override: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        overrides.load("digits", [override])
    assert len(str(caught.value)) < 500


def test_no_noise_is_still_a_channel() -> None:
    assert overrides.load("digits", ["channel.snr_db=inf"]).channel.settings.snr_db == math.inf  # type: ignore[attr-defined]
    arm = overrides.load("fedcl-digits", ["learner.test_snr_db=[inf, -200]"]).arm("fedcl")
    assert arm.learner.settings.test_snr_db == (math.inf, -200)  # type: ignore[attr-defined]
    with pytest.raises(ScenarioError, match="greater than or equal to -200"):
        overrides.load("fedcl-digits", ["learner.test_snr_db=[-1e9]"])


@pytest.mark.parametrize("text", ["0-3000000000", "0-9999,10000", f"0-{'9' * 18}"])
def test_more_seeds_than_anybody_runs_are_refused_before_they_are_counted(text: str) -> None:
    with pytest.raises(ScenarioError, match="more than 10000; write fewer"):
        overrides.parse_seeds(text)


@pytest.mark.parametrize("text", ["²", "9" * 5000, "-1", "1-", "", "0-²"])
def test_what_is_no_seed_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="write numbers and ranges"):
        overrides.parse_seeds(text)


def test_endless_seeds_end() -> None:
    with pytest.raises(ScenarioError, match="seeds"):
        overrides.load("digits", seeds=range(10**12))


FLOATS = st.floats(width=64)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


@given(VALUES)
def test_whatever_is_written_is_json(value: Any) -> None:
    strict(strict_json.dumps(value))
    if not any(word in repr(value) for word in strict_json.NUMBERS):
        assert same(strict_json.loads(strict_json.dumps(value)), value)


@given(value=FLOATS, client=st.none() | st.sampled_from(["NaN", "Infinity", "Sat 1"]))
def test_a_record_keeps_its_number_and_its_names(value: float, client: str | None) -> None:
    record = Record("NaN", 0, 1, client, "loss/t1", value, note="Infinity")
    assert same(Record.from_json(record.to_json()), record)
    assert strict(record.to_json())["client"] == client


@given(st.dictionaries(st.integers(0, 5), FLOATS.filter(lambda x: not 1e150 < abs(x) < math.inf), min_size=1))
def test_figures_of_merit_of_any_numbers(values: dict[int, float]) -> None:
    found = spread(values)
    numbers = list(values.values())
    if all(map(math.isfinite, numbers)):
        assert min(numbers) <= found["mean"] <= max(numbers) or math.isclose(found["mean"], max(numbers))
    else:
        assert not math.isfinite(found["mean"])
        assert found["sd"] is None or math.isnan(found["sd"])
    records = [Record("a", seed, 1, None, "loss/average", value) for seed, value in values.items()]
    metrics = Metrics(FRAMEWORK)
    strict(strict_json.dumps(summarise("s", ["a"], records, [], metrics=metrics, headline="loss/average")))


def test_a_run_that_diverges_leaves_json_behind(tmp_path: Path) -> None:
    """A huge step gives losses that are not finite, over two seeds."""
    done = semfed.run(
        "digits",
        arms=["individual"],
        seeds=[0, 1],
        overrides=["rounds=1", "training.epochs=1", "training.batch_size=1000", "lr=1e12"],
        out=tmp_path / "run",
    )
    final = done.summary["arms"]["individual"]["final"]
    assert any(not math.isfinite(entry["mean"]) for entry in final.values())
    for path in (done.folder / "summary.json", done.folder / "environment.json"):
        strict(path.read_text())
    for name in ("metrics.jsonl", "outcomes.jsonl", "timing.jsonl"):
        for line in (done.folder / name).read_text().splitlines():
            strict(line)
    from rich.console import Console

    from semfed.report import plots, tables

    tables.show(done.summary, read_metrics(done.folder), Console(), [client.name for client in done.scenario.clients])
    assert plots.plot(done.folder)
