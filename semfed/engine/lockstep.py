"""Trials of one process in step: whatever messages they have for training clients are answered together.

A strategy's rounds are its own: nobody can take one apart in the middle. So every trial has a thread, and one of them
runs at a time. A trial that wants clients trained hands their messages in and waits; once all trials have, or are over,
the messages are answered, and every trial goes on with its replies. The threads bring no speed, only turns; what is
global in a process, such as random generators, is everyone's own as if it were alone.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import torch
from flwr.app import Context, Message

from semfed import seeding
from semfed.engine.nodes import Together

POLL_S = 0.1


@dataclass
class Handed:
    """What a trial has handed in, and what came of it."""

    place: int
    messages: Sequence[Message]
    contexts: Sequence[Context]
    replies: Sequence[Message | None] | None = None


class Lockstep:
    """Lets trials, each in a thread of its own, take turns.

    Parameters
    ----------
    serve : callable
        Answers the messages of all trials together, those of the first trial first; None for what it cannot answer.
    trials : int
        How many there are: nobody is served before all are there.
    """

    def __init__(self, serve: Together, trials: int) -> None:
        self._serve, self._underway = serve, trials
        self._turn = threading.Condition()
        self._handed: list[Handed] = []
        self._over = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Run a trial, in its thread; the others go on without it afterwards."""
        with self._turn:
            try:
                yield
            finally:
                self._underway -= 1
                self._serve_all()

    def together(self, place: int) -> Together:
        """Return what answers the messages of the trial at a place, for `semfed.engine.nodes.Nodes`."""
        return partial(self._hand_in, place)

    def end(self) -> None:
        """End all trials: each with ``KeyboardInterrupt``, when it comes to train clients the next time."""
        with self._turn:
            self._over = True
            self._turn.notify_all()

    def _hand_in(
        self, place: int, messages: Sequence[Message], contexts: Sequence[Context]
    ) -> Sequence[Message | None]:
        handed = Handed(place, messages, contexts)
        self._handed.append(handed)
        self._serve_all()
        with seeding.own_globals(0, "elsewhere"):  # others draw from the global generators meanwhile: put ours back
            self._turn.wait_for(lambda: handed.replies is not None or self._over)
        if handed.replies is None:
            raise KeyboardInterrupt
        return handed.replies

    def _serve_all(self) -> None:
        """Answer, if nobody is missing."""
        if not self._handed or len(self._handed) < self._underway or self._over:
            return
        handed, self._handed = sorted(self._handed, key=lambda one: one.place), []
        messages = [message for one in handed for message in one.messages]
        contexts = [context for one in handed for context in one.contexts]
        try:
            replies = iter(self._serve(messages, contexts))
        except Exception:  # whose fault it is comes out when they are served one by one
            replies = iter([None] * len(messages))
        for one in handed:
            one.replies = [next(replies) for _ in one.messages]
        self._turn.notify_all()


def in_threads(jobs: Sequence[Callable[[], object]], lockstep: Lockstep, watch: Callable[[], object]) -> None:
    """Run trials in turn until all are over; an interruption ends them all.

    Parameters
    ----------
    jobs : sequence of callable
        One a trial; what it raises is lost.
    lockstep : Lockstep
        For as many trials.
    watch : callable
        Called now and then.
    """

    def run(job: Callable[[], object]) -> None:
        torch.set_num_threads(1)  # as isolation will: at its end it puts back, for all threads, what it finds here
        with lockstep.turn(), suppress(Exception, KeyboardInterrupt):
            job()

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(POLL_S)
                watch()
    except BaseException:
        lockstep.end()
        raise
    finally:
        for thread in threads:
            if thread.ident is not None:
                thread.join()
