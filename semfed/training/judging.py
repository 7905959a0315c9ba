"""Scores of decisions that a scenario asks for, beside those that its learner has of its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semfed.events.metrics import Metric
from semfed.scenario import Scenario, Task
from semfed.scenario.settings import StrictModel
from semfed.training.losses import probabilities

Judge = Callable[[Tensor, Tensor], float]
"""From the probability of every value, shape (samples, values), float32, and the true values, shape (samples,), int64,
both on the CPU, to a score."""


class Judging(ABC):
    """A metric of decisions: one of the scenario's ``metrics``.

    A plugin is a subclass, found in the entry point group ``semfed.metrics``; ``Settings`` declares its options. It
    judges all test samples of a client at once, so its value is that of the pooled decisions, not a mean over batches.

    Parameters
    ----------
    settings : StrictModel
    task : Task
        The one that is decided.
    """

    Settings: type[StrictModel] = StrictModel

    def __init__(self, settings: Any, task: Task) -> None:
        self.settings, self.task = settings, task

    @classmethod
    @abstractmethod
    def declared(cls, settings: Any) -> Metric:
        """Return the declaration of the metric with given settings."""

    @abstractmethod
    def judge(self, chances: Tensor, values: Tensor) -> float:
        """Score decisions.

        Parameters
        ----------
        chances : Tensor, shape (samples, values), float32
            What the receiver takes for the probability of every value.
        values : Tensor, shape (samples,), int64
            The true ones.
        """


def judges_of(scenario: Scenario, task: Task) -> dict[str, Judge]:
    """Return what scores the decisions in a task, by the metrics' names.

    Raises
    ------
    ScenarioError
        If a metric cannot score decisions of so many values.
    """
    return {choice.load().declared(choice.settings).name: choice.make(task).judge for choice in scenario.metrics or ()}


def own_tasks(scenario: Scenario) -> tuple[Task, ...]:
    """Return the tasks of the scenario's clients, each once."""
    return tuple(scenario.tasks[name] for name in dict.fromkeys(client.task for client in scenario.clients))


@dataclass(frozen=True)
class Pooled:
    """A score of all decisions together, which are kept until it is asked for."""

    chances: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    of: Judge

    def __add__(self, other: "Pooled") -> "Pooled":
        """Return the score of both batches together."""
        return Pooled(self.chances + other.chances, self.values + other.values, self.of)

    @property
    def mean(self) -> float:
        """The score."""
        return self.of(torch.cat(self.chances), torch.cat(self.values))


def pooled(logits: Tensor, values: Tensor, judges: Mapping[str, Judge]) -> dict[str, Pooled]:
    """Return the scores of a batch, which add up over batches.

    Parameters
    ----------
    logits : Tensor, shape (batch, values), or (batch, 1) for a task of two values
    values : Tensor, shape (batch,), int64
    judges : mapping of str to callable
        By metric.
    """
    if not judges:
        return {}
    chances, true = probabilities(logits.detach()).float().cpu(), values.cpu()
    return {name: Pooled((chances,), (true,), judge) for name, judge in judges.items()}


def scored(logits: Tensor, values: Tensor, judges: Mapping[str, Judge]) -> dict[str, float]:
    """Return the scores of all decisions; arguments as of `pooled`."""
    return {name: score.mean for name, score in pooled(logits, values, judges).items()}
