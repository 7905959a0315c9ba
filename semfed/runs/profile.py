"""Where the time of a round goes: a clock listens to the spans of the code (`semfed.events.spans`).

Time belongs to the innermost span, so the parts of a round add up to it; what is in no span is `OTHER`.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table

from semfed.errors import ScenarioError
from semfed.events.callbacks import Callback, ExchangeProgress
from semfed.events.records import Record
from semfed.events.spans import listening
from semfed.runs.api import run
from semfed.scenario import Scenario
from semfed.scenario.overrides import Overrides, load

OTHER = "other"
ROUNDS = 4
"""How many rounds are profiled unless it is said."""
PARTS = {
    "broadcast": "messages made and addressed",
    "client": "clients built, their arrays unpacked, their states kept",
    "training": "local training, without the channel",
    "channel": "power normalisation, fading and noise, forward only",
    "reply": "replies packed and checked for errors; all that was sent accounted",
    "aggregation": "replies checked and averaged; what a strategy trains itself",
    "evaluation": "tests at the clients, without the channel",
    "records": "records gathered and written",
    "checkpoint": "states of server and clients written",
    "waiting": "until actors answer",
    OTHER: "Flower's loop over rounds, and everything else",
}
"""Every part and what it is, in the order of a round."""


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
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def enter(self, part: str) -> None:
        """Let the time run for a part from now on."""
        self._account()
        self._stack.append(part)

    def leave(self) -> None:
        """Let it run again for the part before."""
        self._account()
        self._stack.pop()

    def read(self) -> dict[str, float]:
        """Return seconds by part since the last reading."""
        self._account()
        found = dict(self._seconds)
        self._seconds.clear()
        return found

    def _account(self) -> None:
        now = self._now()
        self._seconds[self._stack[-1]] += now - self._since
        self._since = now


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
        self._exchanges: list[ExchangeProgress] = []

    def on_exchanges(self, tally: ExchangeProgress) -> None:
        """Look at the exchange again when its round is over."""
        self._exchanges.append(tally)

    def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
        """Read the clock; the time of round 0 belongs to opening."""
        seconds_by_part, answered = self.clock.read(), sum(tally.answered for tally in self._exchanges)
        self._exchanges.clear()
        if round_ > 0:
            self.rounds.append(RoundProfile(seconds_by_part, answered))


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
    complete = load(scenario, overrides)  # first: a sweep in the file makes the arms
    chosen = complete.arm_names[0] if arm is None else arm
    complete = load(complete, arms=[chosen])
    most = complete.arm(chosen).rounds
    if rounds is not None and not 1 <= rounds <= most:
        raise ScenarioError(f"rounds = {rounds}: arm {chosen!r} has {most}; give 1 to {most}")
    tree = complete.draft()
    for table in tree.get("arms") or [tree]:  # an arm of a sweep is no part of a dotted path: its name may have dots
        table["rounds"] = min(ROUNDS, most) if rounds is None else rounds
    short = load(tree, seeds=complete.seeds[:1])
    clock = Clock()
    profile = Profile(clock)
    with listening(clock), TemporaryDirectory() as scratch:
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
    parts = PARTS | {part: "a span of a plugin" for r in rounds for part in r.seconds if part not in PARTS}
    mean = {part: sum(r.seconds.get(part, 0.0) for r in rounds) / len(rounds) for part in parts}
    total, per_round = sum(mean.values()), sum(r.messages for r in rounds) / len(rounds)
    shown = Table(title=f"mean of {len(rounds)} rounds, {per_round:g} messages a round", title_justify="left", box=None)
    shown.add_column("part", style="bold", no_wrap=True)
    for heading in ("s/round", "%", "µs/message"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("what it is")
    for part, what in parts.items():
        if mean[part]:
            shown.add_row(*_row(part, mean[part], total, per_round), what)
    shown.add_section()
    shown.add_row(*_row("round", total, total, per_round), "")
    return shown


def _row(part: str, seconds: float, total: float, messages: float) -> tuple[str, ...]:
    each = f"{1e6 * seconds / messages:,.0f}" if messages else ""
    return part, f"{seconds:.4f}", f"{100 * seconds / total:.1f}", each
