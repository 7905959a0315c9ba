"""What is shown while a run goes on."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import semfed
from semfed.events.callbacks import Callback, ExchangeProgress, Outcome, TrialsProgress
from semfed.events.records import Record
from semfed.flower.server.federation import Federation
from semfed.flower.server.run import make_strategy
from semfed.runs.progress import Progress
from semfed.scenario import Scenario, overrides


def screen(progress: Progress) -> str:
    """Draw the display as it is now."""
    progress._bars.refresh()
    with progress.console.capture() as captured:
        progress.console.print(progress._bars.get_renderable())
    return captured.get()


@pytest.fixture
def progress() -> Progress:
    return Progress(Console(file=io.StringIO(), width=140, force_terminal=False))


def test_rounds_clients_and_seconds_are_shown(progress: Progress) -> None:
    scenario = overrides.load("digits", ["arms.individual.rounds=4", "rounds=3"], seeds=[0, 1])
    progress.on_run_start(scenario)
    try:
        progress.on_arm_start("clustered", 1)
        assert "clients" not in screen(progress)
        tally = ExchangeProgress(asked=3, answered=1)
        progress.on_exchanges(tally)
        assert "1/3 clients" in screen(progress)
        tally.answered = 2
        progress.on_round("clustered", 1, 1, [], 0.25)
        shown = screen(progress)
    finally:
        progress.on_run_end(None)
    for words in ("clustered, seed 1", "1/20 rounds", "0.25 s/round", "2/3 clients"):
        assert words in " ".join(shown.split())


def test_trials_side_by_side_are_one_display_and_a_line_a_trial(progress: Progress) -> None:
    progress.on_run_start(overrides.load("digits", ["rounds=3"], seeds=[0, 1]))
    try:
        progress.on_trials(TrialsProgress(2, "as asked for", trials=6, trials_done=2, rounds=18, rounds_done=7))
        progress.on_trials(TrialsProgress(2, "as asked for", trials=6, trials_done=3, rounds=18, rounds_done=11))
        progress.on_arm_start("clustered", 1)
        for round_ in range(4):
            progress.on_round(
                "clustered", 1, round_, [Record("clustered", 1, round_, None, "accuracy/average", 0.5)], 2.0
            )
        shown = screen(progress)
        progress.on_arm_end("clustered", 1, Outcome())
    finally:
        progress.on_run_end(None)
    assert "3/6 trials, 2 at a time" in shown
    assert "11/18 rounds, left" in " ".join(shown.split())
    file = progress.console.file
    assert isinstance(file, io.StringIO)
    assert [line for line in file.getvalue().splitlines() if line.strip() and "rounds, left" not in line] == [
        "2 trials side by side: as asked for",
        "clustered, seed 1: 3 rounds in 6.0 s, accuracy/average 50.0 %",
    ]


def test_the_headline_is_shown_whether_it_is_one_record_or_one_a_client(progress: Progress) -> None:
    for preset, metric, clients in (
        ("digits", "accuracy/average", [None]),
        ("fedcl-digits", "accuracy/own-classes", ["client 1", "client 2"]),
    ):
        progress.on_run_start(overrides.load(preset))
        values = [0.25, 0.75][-len(clients) :]
        told = [Record("a", 0, 1, name, metric, value) for name, value in zip(clients, values, strict=True)]
        try:
            progress.on_round("a", 0, 1, [*told, Record("a", 0, 1, None, "accuracy/other", 0.1)], 0.25)
            assert f"{metric} {75 if len(told) == 1 else 50}.0 %" in " ".join(screen(progress).split())
        finally:
            progress.on_run_end(None)


def test_a_tally_follows_the_replies_of_its_exchange(
    open_federation: Callable[..., Federation], digits: Scenario
) -> None:
    federation = open_federation(digits, "clustered")
    strategy = make_strategy(federation.trial)
    strategy.prepare(federation)  # type: ignore[attr-defined]
    seen: list[ExchangeProgress] = []
    federation.watch = seen.append
    messages = strategy.configure_train(1, federation.initial_arrays, {}, federation)
    replies = federation.send_and_receive(messages)
    assert seen == [ExchangeProgress(asked=3, answered=0)]
    next(replies)
    assert replies.tally == ExchangeProgress(asked=3, answered=1)
    assert not list(federation.send_and_receive([]))
    assert len(list(replies)) == 2
    assert seen == [ExchangeProgress(asked=3, answered=3), ExchangeProgress()]


def test_callbacks_get_the_tally_of_every_exchange(tmp_path: Path) -> None:
    class Collect(Callback):
        def __init__(self) -> None:
            self.tallies: list[ExchangeProgress] = []

        def on_exchanges(self, tally: ExchangeProgress) -> None:
            self.tallies.append(tally)

    collected = Collect()
    short = ["rounds=1", "training.epochs=1"]
    semfed.run("digits", arms=["clustered", "individual"], seeds=[0], overrides=short, out=tmp_path / "run",
               callbacks=[collected])  # fmt: skip
    assert collected.tallies == [ExchangeProgress(3, 3)] * 4, "two arms train and test once"
    assert len({id(tally) for tally in collected.tallies}) == 4
