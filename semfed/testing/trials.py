"""A small scenario for strategies and clients, and what it gives: in one piece, or interrupted and resumed."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, Error, Message

from semfed import scenario as scenarios
from semfed.checkpoint import Checkpoint
from semfed.engine.local import local_grid
from semfed.errors import CheckpointError
from semfed.events.callbacks import Callback, Outcome, array_digest
from semfed.events.records import Record
from semfed.flower.compat import CLIENT_RAISED
from semfed.flower.preflight import check
from semfed.flower.server.federation import Federation
from semfed.flower.server.replies import Replies
from semfed.flower.server.resume import ResumedStrategy
from semfed.flower.server.run import make_strategy, run_trials
from semfed.flower.trial import Trial
from semfed.runs import api
from semfed.runs.folder import METRICS, OUTCOMES
from semfed.scenario import Scenario
from semfed.scenario.plugins import Plugin
from semfed.testing.check import require, skip

ROUNDS, CLIENTS = 2, 3
SMALL: dict[str, Any] = {
    "name": "small",
    "rounds": ROUNDS,
    "seeds": [0],
    "checkpoint_every": 0,
    "data": {"source": "digits", "partition": {"name": "iid", "per_client": 40}},
    "tasks": {"digit": {"values": list(range(10))}},
    "clients": [{"name": f"client {k}", "task": "digit"} for k in range(CLIENTS)],
    "model": {"encoder": {"name": "mlp", "hidden": [8]}, "decoder": {"name": "mlp"}},
    "channel": {"name": "awgn", "uses": 4},
    "training": {"batch_size": 20, "lr": 0.1},
    "learner": "joint",
    "strategy": "fedavg",
}
"""Handwritten digits of the installation, so that it needs no data; a third of a second."""


def small(place: str, choice: Plugin, around: Mapping[str, Any]) -> Scenario:
    """Return the small scenario with a part in its place, and with what else is to be otherwise.

    Raises
    ------
    ScenarioError
        If they do not fit together.
    """
    return scenarios.validate(scenarios.merge(SMALL, {**around, place: choice.dump()}))


class _Numbers(Callback):
    """Keeps what was measured, but for costs, which depend on where clients are, and the outcomes."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_round(self, arm: str, seed: int, round_: int, records: Sequence[Record], seconds: float) -> None:
        self.told += [
            (round_, r.client, r.metric, r.value) for r in records if not r.metric.startswith(("cost/", "simulation"))
        ]

    def on_arm_end(self, arm: str, seed: int, outcome: Outcome) -> None:
        self.told.append((array_digest(outcome.arrays), repr(outcome.details), array_digest(outcome.samples)))


def numbers(scenario: Scenario, *, engine: str = "inprocess", nodes: int | None = None) -> list[Any]:
    """Run a scenario and return all that it measured and ended with.

    Parameters
    ----------
    scenario : Scenario
    engine : {"inprocess", "ray"}
    nodes : int, optional
        One a client if unset.
    """
    noted, data_root = _Numbers(), api.find_data_root(None)
    sizes = check(scenario, data_root)
    with local_grid(engine, sizes if nodes is None else [1] * nodes, data_root) as grid:
        run_trials(grid, scenario, [noted])
    return noted.told


def repeats(scenario: Scenario) -> bool:
    """Whether two runs with one seed, one after the other in this process, give the same."""
    return numbers(scenario) == numbers(scenario)


def require_equal(scenario: Scenario, one: object, other: object, problem: str) -> None:
    """Fail if two runs of a scenario differ, unless any two do."""
    if one != other and not repeats(scenario):
        skip("two runs with one seed differ anyway")
    require(one == other, problem)


class Interrupted(Exception):
    """Ends a run after its first checkpoint."""


class _Interrupting(Callback):
    def on_checkpoint(self, checkpoint: Checkpoint) -> None:
        raise Interrupted


def interrupted(scenario: Scenario) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Run a scenario to its first checkpoint, then in one piece, and then what was left of the first time.

    Returns
    -------
    whole, resumed : tuple of str
        Histories and outcomes, as text.

    Raises
    ------
    DoesNotApply
        If it is refused, since it could not be resumed.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder, "whole"), Path(folder, "parts")
        kept = {"checkpoint_every": 1}
        try:
            with suppress(Interrupted):
                api.run(scenario, out=parts, callbacks=[_Interrupting()], overrides=kept)
        except CheckpointError as refusal:
            skip(f"it cannot be resumed, and says so: {refusal}")
        api.run(scenario, out=whole, overrides=kept)
        api.run(resume=parts)
        both = [tuple((out / name).read_text() for name in (METRICS, OUTCOMES)) for out in (whole, parts)]
    return both[0], both[1]


class LossyFederation(Federation):
    """Some clients fail whatever they are asked, and replies come in any order.

    Attributes
    ----------
    lost : collection of int
        These clients.
    backwards : bool
        Whether replies come in the opposite order.
    """

    lost: Sequence[int] = ()
    backwards: bool = False

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Any:
        """Send messages; parameters as in `Federation.send_and_receive`."""
        asked = {message.metadata.dst_node_id: message for message in messages}
        replies = super().send_and_receive(asked.values(), timeout=timeout)
        heard = [self._heard(asked[reply.metadata.src_node_id], reply) for reply in replies]
        return heard[::-1] if self.backwards else Replies(replies.places, heard)

    def _heard(self, asked: Message, reply: Message) -> Message:
        if asked.metadata.dst_node_id not in self.lost:
            return reply
        return Message(Error(CLIENT_RAISED, "lost by the check"), reply_to=asked)


def exchanged(scenario: Scenario, *, lost: Sequence[int] = (), backwards: bool = False) -> ArrayRecord | None:
    """Run one round of a scenario's strategy, with clients that fail or with replies in the opposite order.

    Returns
    -------
    ArrayRecord or None
        What it ends with; None if it has made nothing.

    Raises
    ------
    FederationError
        If that is less than its quorum.
    """
    data_root = api.find_data_root(None)
    trial = Trial(scenario, scenario.name, scenario.seeds[0])
    with local_grid("inprocess", check(scenario, data_root), data_root) as grid:
        federation = LossyFederation(grid, trial)
        federation.lost, federation.backwards = lost, backwards
        strategy = ResumedStrategy(make_strategy(trial))
        strategy.open(federation)
        return strategy.start(federation, federation.initial_arrays, num_rounds=1).arrays or None
