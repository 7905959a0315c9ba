"""Clients that train side by side, of one trial or of several, where their objective allows it."""

import logging
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from semfed import training
from semfed.checkpoint.files import Arrays
from semfed.errors import ScenarioError
from semfed.flower.client.base import BaseLearner
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.cohort_size import CohortSize, measured
from semfed.flower.client.learner import Learner
from semfed.flower.protocol import proximal_mu
from semfed.scenario import Scenario, TrainingSettings
from semfed.training import weights
from semfed.training.fused.stacked import Cohort, stacks
from semfed.training.objective import Batch, Networks, Send
from semfed.training.optimizers import make_optimizer

Answer = tuple[list[npt.NDArray[Any]], int, dict[str, Any]]
Size = int | Literal["auto"]


@dataclass(frozen=True)
class Visit:
    """A client, and what its ``fit`` would have got."""

    learner: Learner
    parameters: list[npt.NDArray[Any]]
    config: dict[str, Any]

    @cached_property
    def round(self) -> int:
        """Of the server."""
        return int(self.config["server-round"])

    @cached_property
    def kept(self) -> Arrays:
        """What the client keeps from its last training."""
        return self.learner.session.load("training") or {}

    @cached_property
    def nets(self) -> Networks:
        """The process's networks of its architectures."""
        return self.learner.resident()

    @cached_property
    def settings(self) -> TrainingSettings:
        """How it trains in this round."""
        return self.learner.session.training(self.round)

    @cached_property
    def moments(self) -> dict[str, torch.Tensor]:
        """What its optimiser goes on from; nothing for a fresh one."""
        if self.settings.optimizer_state != "kept" or "optimizer" not in self.kept:
            return {}
        return weights.unpack(self.kept["optimizer"], make_optimizer(self.settings, self.nets.parameters).state())

    @cached_property
    def work(self) -> Hashable:
        """What decides how long a cohort takes, and how much memory: networks and the sizes of minibatches."""
        return self.nets, tuple(self.learner.sizes(self.round))

    @cached_property
    def likeness(self) -> Hashable:
        """What clients of one cohort have in common, beside that: settings, and how far their moments are."""
        steps = float(self.moments["steps.0"]) if "steps.0" in self.moments else bool(self.moments)
        return self.work, self.settings, proximal_mu(self.config), bool(self.parameters), steps


def why_arm_alone(arm: Scenario) -> str | None:
    """Say why an arm's clients cannot be stacked; None if they can."""
    return why_alone(arm.learner.load(), arm.model.snr_input)


def why_alone(kind: type, snr_input: str | None = None) -> str | None:
    """Say why learners of a class cannot be stacked, where networks are told the SNR or not; None if they can."""
    if snr_input is not None:
        return f"model.snr_input = {snr_input!r} tells networks an SNR, which every client draws for itself"
    if trains_ahead(kind):
        return None
    if not issubclass(kind, Learner) or kind.fit is not Learner.fit:
        return "it trains by a fit() of its own and not by an objective"
    return None if stacks(kind) else "its objective does not say that it can be stacked (stacks = True)"


def trains_ahead(kind: Any) -> bool:
    """Whether a class trains a part of several clients before each of them is served: see `BaseLearner.train_ahead`."""
    return issubclass(kind, BaseLearner) and kind.train_ahead.__func__ is not BaseLearner.train_ahead.__func__  # type: ignore[attr-defined]


def require_stackable(scenario: Scenario, option: str) -> None:
    """Refuse an option that stacks clients where no arm's learner can be stacked.

    Raises
    ------
    ScenarioError
    """
    arms = map(scenario.arm, scenario.arm_names)
    reasons = {arm.learner.name: why_arm_alone(arm) for arm in arms}
    if None not in reasons.values():
        told = "; ".join(f"learner {name!r} is trained alone, since {why}" for name, why in sorted(reasons.items()))
        raise ScenarioError(f"{option} has no effect: {told}; leave it out")


def fit_together(
    learners: Sequence[BaseLearner],
    parameters: Sequence[list[npt.NDArray[Any]]],
    configs: Sequence[dict[str, Any]],
    *,
    alone: Callable[[int], Answer],
    size: Size,
    cache: ProcessCache,
) -> list[Answer | None]:
    """Train clients as cohorts, each of those that have in common what a `Cohort` asks for.

    Parameters
    ----------
    learners : sequence of BaseLearner
        Of one trial, or of several in one process.
    parameters, configs : sequence
        What every client's ``fit`` would have got.
    alone : callable
        Lets one of them train by its ``fit``.
    size : int or "auto"
        Most clients of a cohort; see `CohortSize`.
    cache : ProcessCache

    Returns
    -------
    list of Answer or None
        What ``fit`` would have returned; None for clients whose learner cannot be stacked as a whole, or that failed:
        they are to be served on their own, which tells what the matter is.
    """
    answers: list[Answer | None] = [None] * len(learners)
    groups, visits = defaultdict[Hashable, list[int]](list), dict[int, Visit]()
    ahead = defaultdict[type[BaseLearner], list[int]](list)
    for k, (learner, own, config) in enumerate(zip(learners, parameters, configs, strict=True)):
        kind, lacks_anchor = type(learner), proximal_mu(config) and not own
        if trains_ahead(kind):
            ahead[kind].append(k)
        elif isinstance(learner, Learner) and not lacks_anchor and _stacks(learner):
            visits[k] = Visit(learner, own, config)
            groups[visits[k].likeness].append(k)
    for kind, group in ahead.items():
        most = None if size == "auto" else size
        with _warned(cache, len(group)):
            kind.train_ahead(
                [learners[k] for k in group], [parameters[k] for k in group], [configs[k] for k in group], most
            )
    for group in groups.values():
        for k, answer in _fit_group({k: visits[k] for k in group}, alone, size, cache):
            answers[k] = answer
    return answers


def _stacks(learner: Learner) -> bool:
    return why_alone(type(learner), learner.session.scenario.model.snr_input) is None


def _fit_group(
    group: dict[int, Visit], alone: Callable[[int], Answer], size: Size, cache: ProcessCache
) -> Iterator[tuple[int, Answer]]:
    """Train clients that are alike, cohort by cohort; yield the answers of those that did not fail, by their places."""
    left, some = list(group), next(iter(group.values()))
    device = some.learner.session.device
    found: CohortSize = cache.once(("cohort size", some.work), CohortSize)
    while left:
        count = found.of(len(left), len(group)) if size == "auto" else min(size, len(left))
        chosen = left[:count]
        told = list[Answer]()
        try:
            with _warned(cache, count), measured(device) as cost:
                told = [_copied(alone(chosen[0]))] if count == 1 else _fit_cohort([group[k] for k in chosen])
            if told:
                found.note(count, len(group), cost)
        except torch.OutOfMemoryError as error:
            found.too_large(count)
            if size == "auto" and count > 1:
                continue
            _say(cache, f"there is no memory for {count} clients side by side, and they train alone: {error}")
        yield from zip(chosen, told, strict=False)
        left = left[count:]


def _copied(answer: Answer) -> Answer:
    """Copy what shares the memory of the process's networks, which the next client fills."""
    arrays, samples, told = answer
    return [np.array(array) for array in arrays], samples, told


def _fit_cohort(visits: Sequence[Visit]) -> list[Answer]:
    first, nets, received = visits[0], visits[0].nets, bool(visits[0].parameters)
    states = [[*visit.parameters, *visit.learner.own_weights(nets, visit.kept, received=received)] for visit in visits]
    cohort = Cohort(first.learner, first.settings, nets, states, proximal_mu(first.config))
    if first.moments:
        cohort.load([visit.moments for visit in visits])
    uses = [0] * len(visits)
    losses = cohort.train([_steps(visit, uses, k) for k, visit in enumerate(visits)])
    answers, sizes = list[Answer](), first.learner.sizes(first.round)
    for visit, (state, moments), own, used in zip(visits, cohort.clients(), losses, uses, strict=True):
        visit.learner.keep(visit.parameters, state, moments, into={})
        told = {visit.learner.loss_name: training.mean_loss(list(own), sizes), "channel-uses": used}
        shared = {name: tensor for name, tensor in state.items() if name not in nets.private_state}
        answers.append((weights.views(shared) if received else [], len(visit.learner.samples[0]), told))
    return answers


def _steps(visit: Visit, uses: list[int], k: int) -> Iterator[tuple[Batch, Send]]:
    """Yield a client's minibatches with its channel, and count its uses in the k-th place."""
    for batch, state in visit.learner.steps(visit.nets, visit.round):
        yield batch, visit.learner.link(state)
        uses[k] += state.uses


@contextmanager
def _warned(cache: ProcessCache, clients: int) -> Iterator[None]:
    """Say once what several clients failed of; they are served one by one, which tells it if it is one of them."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if clients > 1:
            kind = type(error).__name__
            _say(cache, f"{clients} clients could not train side by side and train alone: {kind}: {error}")


def _say(cache: ProcessCache, sentence: str) -> None:
    """Warn, once in a process."""
    cache.once(("said", sentence), lambda: logging.getLogger(__name__).warning(sentence))
