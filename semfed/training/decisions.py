"""How good decisions are where one value is far more frequent than the others: what accuracy alone hides.

A test of a task that is 90 % one value gives 90 % accuracy to whoever always says it, but a balanced accuracy of 50 %.
Both scores here are of the confusion matrix of one client's test, and clients are averaged with equal weights. A matrix
pooled over clients would be another definition; it needs tasks of the same values, which clients do not have.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from semfed.events.metrics import Metric
from semfed.training.judging import Judge, pooled
from semfed.training.objective import Score, correct

BALANCED_ACCURACY = Metric("balanced-accuracy", better="higher", fraction=True, over_clients="mean")
"""Recall, averaged over the values that occur in a client's test; then the mean over clients."""
F1 = Metric("f1", better="higher", fraction=True, over_clients="mean", text="macro F1")
"""F1 of each value that occurs or is decided in a client's test, averaged over these; then the mean over clients."""


def confusion(decided: Tensor, values: Tensor) -> Tensor:
    """Count decisions.

    Parameters
    ----------
    decided, values : Tensor, shape (samples,), int64
        What was decided, and what is true, from 0 on.

    Returns
    -------
    Tensor, shape (size, size), int64
        How often the value of the row was taken for that of the column; `size` is 1 + the largest value of both.
    """
    size = 1 + int(torch.maximum(decided, values).max())
    return torch.bincount(values * size + decided, minlength=size**2).reshape(size, size).cpu()


def balanced_accuracy(counts: Tensor) -> float:
    """Return the recall, averaged over the values that occur.

    Parameters
    ----------
    counts : Tensor, shape (size, size), int64
        From `confusion`.
    """
    occurring = counts.sum(1) > 0
    return float((counts.diagonal()[occurring].double() / counts.sum(1)[occurring]).mean())


def macro_f1(counts: Tensor) -> float:
    """Return 2 TP / (2 TP + FP + FN), averaged over the values that occur or are decided; arguments as above."""
    together = counts.sum(0) + counts.sum(1)
    told = together > 0
    return float((2 * counts.diagonal()[told].double() / together[told]).mean())


SCORES = {BALANCED_ACCURACY.name: balanced_accuracy, F1.name: macro_f1}


@dataclass(frozen=True)
class OfConfusion:
    """A score of a confusion matrix, which adds up over batches."""

    counts: Tensor
    of: Callable[[Tensor], float]

    def __add__(self, other: "OfConfusion") -> "OfConfusion":
        """Return the score of both batches together."""
        size = max(len(self.counts), len(other.counts))
        summed = self.counts.new_zeros(size, size)
        for counts in (self.counts, other.counts):
            summed[: len(counts), : len(counts)] += counts
        return OfConfusion(summed, self.of)

    @property
    def mean(self) -> float:
        """The score."""
        return self.of(self.counts)


def decisions(logits: Tensor, labels: Tensor, judges: Mapping[str, Judge] | None = None) -> Mapping[str, Score]:
    """Return ``accuracy``, ``balanced-accuracy`` and ``f1`` of a batch, and further scores.

    Parameters
    ----------
    logits : Tensor, shape (batch, values)
    labels : Tensor, shape (batch,), int64
    judges : mapping of str to callable, optional
        A learner's `judges`, so that the scenario's ``metrics`` are among the scores.
    """
    counts = confusion(logits.argmax(1), labels)
    own = {name: OfConfusion(counts, of) for name, of in SCORES.items()}
    return {"accuracy": correct(logits, labels), **own, **pooled(logits, labels, judges or {})}


def balanced_scores(decided: Tensor, values: Tensor) -> dict[str, float]:
    """Return ``balanced-accuracy`` and ``f1`` of decisions; arguments as of `confusion`."""
    counts = confusion(decided, values)
    return {name: of(counts) for name, of in SCORES.items()}
