"""Where a round's time goes: parts add up, and nothing stays watched."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from semfed.channels import ChannelState
from semfed.cli import app
from semfed.errors import ScenarioError
from semfed.events.spans import listening, span
from semfed.flower.server.federation import Federation
from semfed.runs import profile
from semfed.runs.profile import Clock, RoundProfile
from semfed.scenario import Scenario, overrides
from semfed.scenario.plugins import load


class Time:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_time_belongs_to_the_innermost_part() -> None:
    time = Time()
    clock = Clock(time)

    @span("channel")
    def inner() -> None:
        time.now += 2

    @span("training")
    def outer() -> str:
        time.now += 1
        inner()
        time.now += 4
        return "done"

    time.now += 8
    with listening(clock):
        assert outer() == "done"
    assert clock.read() == {profile.OTHER: 8, "training": 5, "channel": 2}
    assert not sum(clock.read().values())


def test_what_an_iterator_does_belongs_to_its_part_and_the_rest_to_whoever_asks() -> None:
    time = Time()
    clock = Clock(time)

    @span("waiting")
    def replies() -> Iterator[int]:
        for k in range(3):
            time.now += 1
            yield k

    @span("aggregation")
    def aggregate() -> list[int]:
        found = []
        for reply in replies():
            time.now += 10
            found.append(reply)
        return found

    with listening(clock):
        assert aggregate() == [0, 1, 2]
    assert clock.read() == {profile.OTHER: 0, "waiting": 3, "aggregation": 30}


def test_a_function_that_raises_gives_its_part_back() -> None:
    time = Time()
    clock = Clock(time)

    @span("reply")
    def fail() -> None:
        time.now += 1
        raise ValueError("as asked")

    with listening(clock), pytest.raises(ValueError, match="as asked"):
        fail()
    time.now += 5
    assert clock.read() == {profile.OTHER: 5, "reply": 1}


@given(st.lists(st.tuples(st.sampled_from(list(profile.PARTS)), st.floats(0, 100)), max_size=30))
def test_parts_add_up_to_all_the_time(steps: list[tuple[str, float]]) -> None:
    time = Time()
    clock = Clock(time)
    for depth, (part, seconds) in enumerate(steps):
        clock.enter(part)
        time.now += seconds
        if depth % 3:
            clock.leave()
    assert sum(clock.read().values()) == pytest.approx(time.now)


def test_nobody_listens_afterwards(
    open_federation: Callable[..., Federation], digits: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(profile, "Clock", lambda: clock)
    profile.take("digits", rounds=1, overrides=["training.epochs=1"])
    clock.read()
    open_federation(digits).take_records(0)
    assert clock.read().keys() == {profile.OTHER}


@pytest.mark.parametrize("name", ["awgn", "rayleigh", "mimo"])
def test_whatever_a_channel_does_is_its_own_time(name: str) -> None:
    """Also where several receivers distort what one antenna sends, and in channels of other packages."""
    kind = load("channels", name)
    channel, state = kind(kind.Settings()), ChannelState(torch.Generator())
    for method in (channel, channel.transmit, channel.distort):
        clock = Clock()
        with listening(clock):
            method(torch.ones(2, 8), state)
        assert clock.read()["channel"] > 0


def test_the_rounds_of_a_run() -> None:
    rounds = profile.take("digits", rounds=3, overrides=["training.epochs=1"])
    assert [found.messages for found in rounds] == [6, 6]
    parts = {"broadcast", "client", "training", "channel", "reply", "aggregation", "evaluation", "records"}
    assert all(found.seconds[part] > 0 for found in rounds for part in parts)


@pytest.mark.flower
@pytest.mark.long
def test_the_servers_side_of_ray() -> None:
    (found,) = profile.take("digits", engine="ray", rounds=1, overrides=["training.epochs=1"], workers=1)
    assert found.messages == 6
    assert found.seconds["waiting"] > 0
    assert "training" not in found.seconds


def test_the_table_has_a_total() -> None:
    rounds = [RoundProfile({"training": 1.0, "reply": 3.0}, 2), RoundProfile({"training": 3.0, "reply": 1.0}, 2)]
    cells = [list(column.cells) for column in profile.table(rounds).columns]
    assert cells[0] == ["training", "reply", "round"]
    assert cells[1] == ["2.0000", "2.0000", "4.0000"]
    assert cells[2] == ["50.0", "50.0", "100.0"]
    assert cells[3] == ["1,000,000", "1,000,000", "2,000,000"]


def test_a_span_of_a_plugin_has_a_line_of_its_own() -> None:
    shown = profile.table([RoundProfile({"training": 1.0, "pruning": 3.0}, 2)])
    assert list(shown.columns[0].cells) == ["training", "pruning", "round"]
    assert list(shown.columns[1].cells) == ["1.0000", "3.0000", "4.0000"]


def test_arms_of_a_sweep_are_found_whatever_their_values_are(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Scenario] = []
    monkeypatch.setattr(profile, "run", lambda short, **_: taken.append(short))
    swept = overrides.load("digits", sweep="training.lr=0.05,0.5")
    written = overrides.load("digits").draft() | {"sweep": {"training": {"lr": [0.05, 0.5]}}}
    for scenario in (swept, written):
        profile.take(scenario, arm="individual@0.5", rounds=2)
        (arm,) = taken.pop().arms
        assert (arm.name, arm.changes["rounds"], arm.changes["training"]["lr"]) == ("individual@0.5", 2, 0.5)
    with pytest.raises(ScenarioError, match="arm 'individual@0.3': not in scenario"):
        profile.take(swept, arm="individual@0.3")


def test_other_engines_cannot_be_watched() -> None:
    with pytest.raises(ScenarioError, match="engine 'flower' cannot be profiled"):
        profile.take("digits", engine="flower")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["profile", "digits", "--rounds", "1", "--arm", "individual"])
    assert result.exit_code == 0, result.output
    for word in ("training", "aggregation", "round"):
        assert word in result.stdout
    assert not list(tmp_path.iterdir())
