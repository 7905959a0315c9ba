"""Who listens hears of every span, in its own context alone; where nobody does, nothing changes."""

import threading
import timeit
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from semfed.events.spans import listening, span


class Notes:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def enter(self, part: str) -> None:
        self.heard.append(part)

    def leave(self) -> None:
        self.heard.append("over")


@span("training")
def fit(samples: int, *, scale: int = 1) -> int:
    """Fit."""
    with span("channel"):
        return samples * scale


@span("waiting")
def replies() -> Iterator[int]:
    yield 1
    yield 2


def test_spans_are_heard_with_what_is_in_them() -> None:
    notes = Notes()
    with listening(notes):
        assert fit(3, scale=2) == 6
    assert notes.heard == ["training", "channel", "over", "over"]


def test_nothing_is_heard_before_and_afterwards() -> None:
    notes = Notes()
    fit(1)
    with listening(notes):
        pass
    assert fit(2) == 2
    assert notes.heard == []


def test_a_generator_is_at_work_while_it_makes_an_item() -> None:
    notes = Notes()
    with listening(notes):
        for reply in replies():
            notes.heard.append(f"used {reply}")
    assert notes.heard == ["waiting", "over", "used 1", "waiting", "over", "used 2", "waiting", "over"]
    assert list(replies()) == [1, 2]


def test_an_error_ends_its_spans() -> None:
    notes = Notes()
    with listening(notes), pytest.raises(TypeError):
        fit(None, scale={})  # type: ignore[arg-type]
    assert notes.heard == ["training", "channel", "over", "over"]


def test_other_threads_are_not_heard() -> None:
    notes = Notes()
    with listening(notes):
        other = threading.Thread(target=fit, args=(1,))
        other.start()
        other.join()
    assert notes.heard == []


def test_the_last_who_listens_hears_and_then_the_one_before() -> None:
    first, second = Notes(), Notes()
    with listening(first):
        with ExitStack() as stack:
            stack.enter_context(listening(second))
            fit(1)
        fit(1)
    assert first.heard == second.heard == ["training", "channel", "over", "over"]


def test_a_marked_function_keeps_its_name() -> None:
    assert (fit.__name__, fit.__doc__) == ("fit", "Fit.")


def test_nobody_pays_for_what_nobody_hears() -> None:
    """Below 100 ns on the machine of the results; ten times as much is allowed here, where other things may run."""

    def plain(samples: int) -> int:
        return samples

    marked = span("training")(plain)
    times = [min(timeit.repeat(partial(f, 1), number=1000, repeat=200)) for f in (marked, plain)]
    assert times[0] - times[1] < 1e-6 * 1000
