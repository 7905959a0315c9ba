"""Trials that take turns in threads: whose messages are answered when, and what is everyone's own meanwhile."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from semfed import seeding
from semfed.engine.lockstep import Lockstep, in_threads

NAMES = {0: "a", 1: "b", 2: "c"}


def serve(calls: list[list[str]], messages: Sequence[Any]) -> list[str]:
    calls.append(list(messages))
    return [message.upper() for message in messages]


def test_all_are_answered_together_for_as_long_as_they_have_rounds() -> None:
    calls: list[list[str]] = []
    heard: dict[int, list[str]] = {0: [], 1: [], 2: []}
    lockstep = Lockstep(lambda messages, contexts: serve(calls, messages), 3)

    def trial(place: int, rounds: int) -> None:
        together = lockstep.together(place)
        for round_ in range(rounds):
            heard[place] += together([f"{NAMES[place]}{round_}"] * (1 + place % 2), [None] * (1 + place % 2))

    in_threads([lambda: trial(0, 3), lambda: trial(1, 1), lambda: trial(2, 2)], lockstep, lambda: None)
    assert calls == [["a0", "b0", "b0", "c0"], ["a1", "c1"], ["a2"]]
    assert heard == {0: ["A0", "A1", "A2"], 1: ["B0", "B0"], 2: ["C0", "C1"]}


def test_global_generators_are_as_if_a_trial_were_alone() -> None:
    drawn: dict[int, list[Any]] = {0: [], 1: []}
    lockstep = Lockstep(lambda messages, contexts: [None] * len(messages), 2)

    def trial(place: int) -> None:
        with seeding.own_globals(place, "trial"):
            for _ in range(3):
                drawn[place].append((random.random(), torch.rand(()).item()))
                lockstep.together(place)([place], [None])

    with seeding.own_globals(0, "around"):
        in_threads([lambda: trial(0), lambda: trial(1)], lockstep, lambda: None)
    for place, found in drawn.items():
        with seeding.own_globals(place, "trial"):
            assert found == [(random.random(), torch.rand(()).item()) for _ in range(3)]


def test_a_trial_that_fails_leaves_the_others_to_go_on() -> None:
    ended: list[int] = []
    lockstep = Lockstep(lambda messages, contexts: list(messages), 2)

    def fails() -> None:
        raise ValueError("not me")

    def goes_on() -> None:
        for _ in range(2):
            lockstep.together(1)(["x"], [None])
        ended.append(1)

    in_threads([fails, goes_on], lockstep, lambda: None)
    assert ended == [1]


def test_what_cannot_be_served_together_is_left_to_everyone() -> None:
    def broken(messages: Any, contexts: Any) -> Any:
        raise ValueError("neither of them")

    replies: list[Any] = []
    lockstep = Lockstep(broken, 2)
    jobs = [lambda place=place: replies.append(lockstep.together(place)([place], [None])) for place in (0, 1)]
    in_threads(jobs, lockstep, lambda: None)
    assert replies == [[None], [None]]


def test_an_interruption_ends_all_of_them() -> None:
    rounds: list[int] = []
    lockstep = Lockstep(lambda messages, contexts: list(messages), 2)

    def endless(place: int) -> None:
        while True:
            rounds.append(place)
            lockstep.together(place)([place], [None])

    def interrupt() -> None:
        if len(rounds) > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_threads([lambda: endless(0), lambda: endless(1)], lockstep, interrupt)
    assert abs(rounds.count(0) - rounds.count(1)) <= 1
