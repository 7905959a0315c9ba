"""Where a round's time goes: parts add up, and nothing stays watched."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from semfed.cli import app
from semfed.errors import ScenarioError
from semfed.flower.server.federation import Federation
from semfed.runs import profile
from semfed.runs.profile import Clock, RoundProfile
from semfed.scenario import overrides
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

    def inner() -> None:
        time.now += 2

    watched = clock.watch(inner, "channel")

    def outer() -> str:
        time.now += 1
        watched()
        time.now += 4
        return "done"

    time.now += 8
    assert clock.watch(outer, "training")() == "done"
    seconds, calls = clock.read()
    assert seconds == {profile.OTHER: 8, "training": 5, "channel": 2}
    assert sum(calls.values()) == 2
    assert not sum(clock.read()[0].values())


def test_what_an_iterator_does_belongs_to_its_part_and_the_rest_to_whoever_asks() -> None:
    time = Time()
    clock = Clock(time)

    def replies() -> Iterator[int]:
        for k in range(3):
            time.now += 1
            yield k

    def aggregate() -> list[int]:
        found = []
        for reply in clock.watch(replies, "waiting")():
            time.now += 10
            found.append(reply)
        return found

    assert clock.watch(aggregate, "aggregation")() == [0, 1, 2]
    assert clock.read()[0] == {profile.OTHER: 0, "waiting": 3, "aggregation": 30}


def test_a_function_that_raises_gives_its_part_back() -> None:
    time = Time()
    clock = Clock(time)

    def fail() -> None:
        time.now += 1
        raise ValueError("as asked")

    with pytest.raises(ValueError, match="as asked"):
        clock.watch(fail, "reply")()
    time.now += 5
    assert clock.read()[0] == {profile.OTHER: 5, "reply": 1}


@given(st.lists(st.tuples(st.sampled_from(list(profile.PARTS)), st.floats(0, 100)), max_size=30))
def test_parts_add_up_to_all_the_time(steps: list[tuple[str, float]]) -> None:
    time = Time()
    clock = Clock(time)
    for depth, (part, seconds) in enumerate(steps):
        clock.enter(part)
        time.now += seconds
        if depth % 3:
            clock.leave()
    assert sum(clock.read()[0].values()) == pytest.approx(time.now)


def test_nothing_stays_watched() -> None:
    scenario = overrides.load("digits", arms=["clustered"])
    channel, learner = load("channels", "awgn"), load("clients", "multitask")
    before = Federation.send_and_receive, learner.fit, channel.distort, dict(vars(channel))
    with profile.watching(Clock(), scenario):
        assert Federation.send_and_receive is not before[0]
        assert "transmit" in vars(channel)
    assert (Federation.send_and_receive, learner.fit, channel.distort, dict(vars(channel))) == before


def test_the_rounds_of_a_run() -> None:
    rounds = profile.take("digits", rounds=3, overrides=["training.epochs=1"])
    assert [found.messages for found in rounds] == [6, 6]
    parts = {"broadcast", "client", "training", "channel", "reply", "aggregation", "evaluation", "records"}
    assert all(found.seconds[part] > 0 for found in rounds for part in parts)


@pytest.mark.flower
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
