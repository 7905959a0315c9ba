"""The server's side of a run: every arm with every seed, one after the other, over one grid."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from semfed import seeding
from semfed.checkpoint import Checkpoint
from semfed.errors import SemfedError
from semfed.events.callbacks import Callback, ExchangeProgress, Outcome
from semfed.events.interruption import Interruption
from semfed.events.metrics import Metric, declared_in
from semfed.flower.server import validation
from semfed.flower.server.checkpoints import Checkpoints
from semfed.flower.server.federation import Federation
from semfed.flower.server.networks import collect
from semfed.flower.server.strategy import FederatedStrategy
from semfed.flower.trial import Trial
from semfed.scenario import Scenario
from semfed.training.isolation import isolated

OPENING_S = 120.0
"""Opening a trial may take at least this long: nodes start, import and decode."""


def run_trials(
    grid: Grid,
    scenario: Scenario,
    callbacks: Sequence[Callback],
    *,
    resume: Checkpoint | None = None,
    obtain: Callable[..., object] | None = None,
) -> None:
    """Run all arms of a scenario with all its seeds and tell the callbacks.

    Seeds go in the outer loop, so that a run that ends early has comparable arms.

    Parameters
    ----------
    grid : Grid
        Of any engine.
    scenario : Scenario
    callbacks : sequence of Callback
    resume : Checkpoint, optional
        What to go on from: what was done before it is not done again.
    obtain : callable, optional
        Runs a trial, or knows it from elsewhere; `run_arm` by default.

    Raises
    ------
    SemfedError
        If clients or data do not allow it; what was measured before has reached the callbacks.
    """
    before = resume or Checkpoint(uuid4().hex)
    midway = None if before.round is None else before
    with told_of_run(callbacks, scenario, resume) as told:
        for seed, arm in before.remaining(scenario):
            (obtain or run_arm)(grid, Trial(scenario.arm(arm), arm, seed), told, run=before.run, resume=midway)
            midway = None


@contextmanager
def told_of_run(
    callbacks: Sequence[Callback], scenario: Scenario, resume: Checkpoint | None
) -> Iterator[Sequence[Callback]]:
    """Tell callbacks that a run starts and, in any case, how it ended; the first problem is the one that is raised.

    Parameters
    ----------
    callbacks : sequence of Callback
    scenario : Scenario
    resume : Checkpoint or None
        What the run goes on from.

    Yields
    ------
    sequence of Callback
        Whom to tell of all that happens in between.
    """
    problem: BaseException | None = None
    try:
        with Interruption() as interruption:
            for callback in callbacks:
                if resume is not None:
                    callback.on_resume(resume)
                callback.on_run_start(scenario)
            yield [*callbacks, interruption]
    except BaseException as error:
        problem = error
    for callback in callbacks:
        try:
            callback.on_run_end(problem)
        except Exception as error:
            problem = problem or error
    if problem is not None:
        raise problem


@isolated()
def run_arm(
    grid: Grid,
    trial: Trial,
    callbacks: Sequence[Callback],
    *,
    run: str = "",
    resume: Checkpoint | None = None,
) -> Outcome:
    """Run one arm with one seed: open the federation, start the strategy, report every round.

    Parameters
    ----------
    grid : Grid
    trial : Trial
    callbacks : sequence of Callback
    run : str
        Name of the run for checkpoints; empty for none.
    resume : Checkpoint, optional
        Of a round of this very arm and seed.
    """
    arm, seed, scenario = trial.arm, trial.seed, trial.scenario
    for callback in callbacks:
        callback.on_arm_start(arm, seed)
    started = time.perf_counter()
    federation = Federation(
        grid, trial, timeout=max(scenario.timeout_s, OPENING_S), run=run, marks=resume.marks if resume else None
    )

    def watch(tally: ExchangeProgress) -> None:
        for callback in callbacks:
            callback.on_exchanges(tally)

    def hear(client: int, phase: str, round_: str, text: str) -> None:
        for callback in callbacks:
            callback.on_client_error(arm, seed, int(round_ or 0), federation.name(client), phase, text)

    def keep(which: str, round_: int, arrays: ArrayRecord) -> None:
        if scenario.keeps_models and scenario.keep_models == which:
            for networks in collect(federation, strategy, round_, arrays):
                for callback in callbacks:
                    callback.on_networks(arm, seed, networks)

    federation.watch, federation.hear = watch, hear
    strategy, baselines, told = make_strategy(trial), _baselines(federation), set[str]()
    best = validation.begin(scenario)
    points = Checkpoints(federation, strategy, callbacks, resume, best=best)
    done, final = points.done, ArrayRecord()
    finished, held = done, points.arrays

    def after_round(round_: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Flower calls this before the first and after every round."""
        nonlocal started, final, finished, held
        true_round, final = done + round_, points.aggregate(arrays)
        finished, held = true_round, arrays
        records, now = federation.take_records(true_round), time.perf_counter()
        told.update(record.metric for record in records)
        if round_ or not done:  # what comes before the first round has been told before
            for callback in callbacks:
                callback.on_round(arm, seed, true_round, records, now - started)
            if best is not None and validation.follow(best, true_round, records):
                keep("best", true_round, arrays)  # before the checkpoint that knows it as the best round
            points.after_round(true_round, arrays)
        if best is not None and best.stops:
            raise validation.Stop
        points.before_round(true_round + 1)
        seeding.seed_globals(seed, "server", true_round + 1)  # stock strategies draw their clients from Python's
        started = now
        return None

    try:
        with suppress(validation.Stop):
            points.continued(resume).start(
                grid=federation,
                initial_arrays=points.arrays,
                num_rounds=scenario.rounds - done,
                timeout=scenario.timeout_s,
                evaluate_fn=after_round,
            )
    except SemfedError:
        failures = [record for record in federation.take_records(points.round) if record.note is not None]
        for callback in callbacks if failures else ():
            callback.on_round(arm, seed, points.round, failures, time.perf_counter() - started)
        raise
    outcome = Outcome(
        arrays={name: array.numpy() for name, array in final.items()},
        details=strategy.details() if isinstance(strategy, FederatedStrategy) else {},
        baselines=_covered(baselines, told, scenario),
        samples={
            f"{name}/{k}": array
            for k, own in sorted(federation.measured.samples.items())
            for name, array in own.items()
        },
        best_round=None if best is None else best.told(),
    )
    keep("final", finished, held)
    for callback in callbacks:
        callback.on_arm_end(arm, seed, outcome)
    points.after_arm()
    return outcome


def make_strategy(trial: Trial) -> Strategy:
    """Build the scenario's strategy: one of this package's kind, or a stock one of Flower's."""
    choice = trial.scenario.strategy
    cls: Any = choice.load()
    own = issubclass(cls, FederatedStrategy)
    strategy: Strategy = cls(trial, choice.settings) if own else cls(**choice.settings.model_dump())
    return strategy


def _baselines(federation: Federation) -> dict[str, float]:
    """Collect what clients say a trivial decision reaches, over the clients that have the metric.

    Properties are called ``baseline/<metric>``; a quantity alone, without a slash, is that of the client's task, as
    among the metrics.

    Raises
    ------
    FederationError
        If the learner does not declare such a metric.
    """
    scenario = federation.trial.scenario
    declared, learner = declared_in(scenario), scenario.learner.load()
    found: dict[str, tuple[Metric, list[float]]] = {}
    for client, properties in sorted(federation.properties.items()):
        task = scenario.clients[client].task
        for name, value in properties.items():
            if name.startswith("baseline/"):
                own = name.removeprefix("baseline/")
                metric = declared.require(own, learner)
                parts = [own] if "/" in own else [f"{own}/{part}" for part in (task, metric.whole) if part is not None]
                for label in parts:
                    found.setdefault(label, (metric, []))[1].append(float(value))
    return {label: metric.over(values) for label, (metric, values) in found.items()}


def _covered(baselines: Mapping[str, float], told: Iterable[str], scenario: Scenario) -> dict[str, float]:
    """Leave out what was found for all tasks together where some of those that are in the metric have none.

    A client's own task has a baseline by default; of what its learner decides besides, it does not know one.
    """
    tasks = {client.task for client in scenario.clients}
    bare = {name.rpartition("/")[0] for name in told if "/" in name and name not in baselines}

    def holds(label: str) -> bool:
        quantity, _, part = label.rpartition("/")
        by_task = any(f"{quantity}/{task}" in baselines for task in tasks)
        return part in tasks or not by_task or quantity not in bare

    return {label: value for label, value in baselines.items() if holds(label)}
