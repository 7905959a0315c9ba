"""Where the time of a round goes: known functions report what they are for while a profile is taken.

Nothing of this is in the way of a normal run. Time belongs to the innermost function that is known, so the parts of a
round add up to it; what no known function accounts for is `OTHER`.
"""

import importlib
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table

from semfed.errors import ScenarioError
from semfed.events.callbacks import Callback
from semfed.events.records import Record
from semfed.flower.server.federation import Federation
from semfed.runs.api import run
from semfed.scenario import Scenario
from semfed.scenario.overrides import Overrides, load

OTHER = "other"
ROUNDS = 4
"""How many rounds are profiled unless it is said."""
PARTS = {
    "broadcast": "messages made, addressed and accounted",
    "client": "clients built, their arrays unpacked, their states kept",
    "training": "local training, without the channel",
    "channel": "power normalisation, fading and noise, forward only",
    "reply": "replies packed, checked for errors and accounted",
    "aggregation": "replies checked and averaged; what a strategy trains itself",
    "evaluation": "tests at the clients, without the channel",
    "records": "records gathered and written",
    "checkpoint": "states of server and clients written",
    "waiting": "until workers answer",
    OTHER: "Flower's loop over rounds, and everything else",
}
"""Every part and what it is, in the order of a round."""

FUNCTIONS = {
    "semfed.flower.server.federation:Federation.send_and_receive": "broadcast",
    "semfed.flower.server.federation:Federation._replies": "broadcast",
    "semfed.flower.server.exchange:Exchange.ask": "broadcast",
    "semfed.flower.server.exchange:Exchange._send": "broadcast",
    "semfed.flower.server.exchange:_wire": "broadcast",
    "semfed.flower.server.federation:Federation._take_note": "reply",
    "semfed.flower.server.federation:Federation.take_records": "records",
    "semfed.flower.client.app:_reply": "reply",
    "semfed.flower.client.app:_named": "reply",
    "semfed.engine.nodes:Nodes.answer": "client",
    "semfed.runs.recorder:Recorder.on_round": "records",
    "semfed.runs.recorder:Recorder.on_checkpoint": "checkpoint",
    "semfed.flower.server.checkpoints:Checkpoints.after_round": "checkpoint",
    "semfed.flower.client.state_store:StateStore.keep": "checkpoint",
}
"""Functions of the library by part; strategies, clients, channels and grids come from the scenario."""
RAY = {"semfed.engine.ray.grid:RayGrid.exchange": "waiting"}
STRATEGY = {
    "configure_train": "broadcast",
    "configure_evaluate": "broadcast",
    "aggregate_train": "aggregation",
    "aggregate_evaluate": "aggregation",
}
CLIENT = {"fit": "training", "forward": "training", "backward": "training", "evaluate": "evaluation"}
CHANNEL = {"transmit": "channel", "distort": "channel"}


class Clock:
    """Splits time among parts: it always runs for exactly one of them.

    Parameters
    ----------
    now : callable
        Says what time it is, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._stack = [OTHER]
        self._since = now()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, int] = defaultdict(int)

    def enter(self, part: str) -> None:
        """Let the time run for a part from now on."""
        self._account()
        self._stack.append(part)

    def leave(self) -> None:
        """Let it run again for the part before."""
        self._account()
        self._stack.pop()

    def read(self) -> tuple[dict[str, float], dict[str, int]]:
        """Return seconds by part, and calls by function, since the last reading."""
        self._account()
        found = dict(self.seconds), dict(self.calls)
        self.seconds.clear()
        self.calls.clear()
        return found

    def _account(self) -> None:
        now = self._now()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def watch(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Return the function with its time put down to a part, and that of the generator that it may return."""

        @wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.calls[function.__qualname__] += 1
            self.enter(part)
            try:
                result = function(*args, **kwargs)
            finally:
                self.leave()
            return self._watch_generator(result, part) if isinstance(result, Generator) else result

        return watched

    def _watch_generator(self, items: Iterator[Any], part: str) -> Iterator[Any]:
        nothing = object()
        while True:
            self.enter(part)
            try:
                item = next(items, nothing)
            finally:
                self.leave()
            if item is nothing:
                return
            yield item


@contextmanager
def watching(clock: Clock, scenario: Scenario, *, ray: bool = False) -> Iterator[None]:
    """Let the functions of a round report to a clock, and put them back afterwards.

    Parameters
    ----------
    clock : Clock
    scenario : Scenario
        Its arms say which strategies, clients and channels are watched.
    ray : bool
        Whether clients live in other processes, where nothing is watched.
    """
    targets = {_resolve(path): part for path, part in (FUNCTIONS | (RAY if ray else {})).items()}
    for arm in scenario.arm_names:
        complete = scenario.arm(arm)
        for choice, methods in (
            (complete.strategy, STRATEGY),
            (complete.learner, CLIENT),
            (complete.channel, CHANNEL),
        ):
            owner = choice.load()
            targets |= {(owner, name): part for name, part in methods.items() if hasattr(owner, name)}
    undo: list[Callable[[], None]] = []
    try:
        for (owner, name), part in targets.items():
            undo.append(_replace(owner, name, clock.watch(getattr(owner, name), part)))
        yield
    finally:
        for back in reversed(undo):
            back()


def _resolve(path: str) -> tuple[Any, str]:
    module, _, dotted = path.partition(":")
    *owners, name = dotted.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    return owner, name


def _replace(owner: Any, name: str, function: Callable[..., Any]) -> Callable[[], None]:
    """Set an attribute; return what undoes it, which for an inherited method is to delete it."""
    inherited, before = name not in vars(owner), getattr(owner, name)
    setattr(owner, name, function)
    return (lambda: delattr(owner, name)) if inherited else (lambda: setattr(owner, name, before))


@dataclass(frozen=True)
class RoundProfile:
    """Seconds of one round by part, and how many replies came."""

    seconds: dict[str, float]
    messages: int


class Profile(Callback):
    """Collects the rounds of a run that is being watched; put it after the recorder.

    Parameters
    ----------
    clock : Clock

    Attributes
    ----------
    rounds : list of RoundProfile
        From the first round on, without what opens a trial.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.rounds: list[RoundProfile] = []

    def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
        """Read the clock; the time of round 0 belongs to opening."""
        seconds_by_part, calls = self.clock.read()
        if round_ > 0:
            self.rounds.append(RoundProfile(seconds_by_part, calls.get(Federation._take_note.__qualname__, 0)))


def take(
    scenario: str | Path | Mapping[str, Any] | Scenario,
    *,
    engine: str = "inprocess",
    arm: str | None = None,
    rounds: int | None = None,
    overrides: Overrides = (),
    data_root: str | Path | None = None,
    workers: int | None = None,
) -> list[RoundProfile]:
    """Run a few rounds of one arm with its first seed and say where their time went; nothing else is kept.

    Parameters
    ----------
    scenario, overrides, data_root, workers
        As in `semfed.run`.
    engine : {"inprocess", "ray"}
        With ``ray`` the server's process is watched: training is what it waits for.
    arm : str, optional
        The first one by default.
    rounds : int, optional
        4 by default, or all if there are fewer. The first one, which fills caches, is left out of the result if there
        are several.

    Raises
    ------
    ScenarioError
        If the engine cannot be watched, the scenario is wrong, or it has fewer rounds.
    """
    if engine not in ("inprocess", "ray"):
        raise ScenarioError(f"engine {engine!r} cannot be profiled; take 'inprocess' or 'ray'")
    complete = load(scenario, overrides, arms=None if arm is None else [arm])
    chosen = complete.arm_names[0]
    most = complete.arm(chosen).rounds
    if rounds is not None and not 1 <= rounds <= most:
        raise ScenarioError(f"rounds = {rounds}: arm {chosen!r} has {most}; give 1 to {most}")
    few = {f"arms.{chosen}.rounds" if complete.arms else "rounds": min(ROUNDS, most) if rounds is None else rounds}
    short = load(complete, few, arms=[chosen], seeds=complete.seeds[:1])
    clock = Clock()
    profile = Profile(clock)
    with watching(clock, short, ray=engine == "ray"), TemporaryDirectory() as scratch:
        run(
            short,
            engine=engine,
            data_root=data_root,
            out=Path(scratch) / "run",
            callbacks=[profile],
            workers=workers,
        )
    return profile.rounds[1:] or profile.rounds


def table(rounds: Sequence[RoundProfile]) -> Table:
    """Show the mean round by part: seconds, share, and microseconds a message.

    Parameters
    ----------
    rounds : sequence of RoundProfile
        At least one.
    """
    mean = {part: sum(r.seconds.get(part, 0.0) for r in rounds) / len(rounds) for part in PARTS}
    total, per_round = sum(mean.values()), sum(r.messages for r in rounds) / len(rounds)
    shown = Table(title=f"mean of {len(rounds)} rounds, {per_round:g} messages a round", title_justify="left", box=None)
    shown.add_column("part", style="bold", no_wrap=True)
    for heading in ("s/round", "%", "µs/message"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("what it is")
    for part, what in PARTS.items():
        if mean[part]:
            shown.add_row(*_row(part, mean[part], total, per_round), what)
    shown.add_section()
    shown.add_row(*_row("round", total, total, per_round), "")
    return shown


def _row(part: str, seconds: float, total: float, messages: float) -> tuple[str, ...]:
    each = f"{1e6 * seconds / messages:,.0f}" if messages else ""
    return part, f"{seconds:.4f}", f"{100 * seconds / total:.1f}", each
