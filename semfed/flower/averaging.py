"""Averages of clients' arrays, taken while the replies come in."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, Message, MetricRecord, MetricRecordValues

from semfed.flower import arrays as wire
from semfed.flower.arrays import Arrays

WEIGHT = "num-examples"
"""Metric of a reply by which averages are weighted, as in Flower."""


class Average:
    """Weighted mean of equally named arrays, summed in the order in which they are added.

    Sums are in float64 and one set of arrays is all the memory that they take. The mean of one update is that update,
    bit for bit; floating-point means are rounded back to the update's dtype, integer ones to whole numbers.
    """

    def __init__(self) -> None:
        self._sums: Arrays = {}
        self._dtypes: dict[str, np.dtype[Any]] = {}
        self._unit = self._total = 0.0

    def add(self, arrays: Mapping[str, npt.NDArray[Any]], weight: float = 1.0) -> None:
        """Add an update.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            The same names, shapes and dtypes every time.
        weight : float
            Greater than 0.
        """
        if not self._sums:
            self._unit = weight  # weights are relative to the first one, which makes equal ones 1
            self._dtypes = {name: array.dtype for name, array in arrays.items()}
            self._sums = {name: np.array(array, dtype=np.float64) for name, array in arrays.items()}
            self._total = 1.0
            return
        share = weight / self._unit
        self._total += share
        for name, array in arrays.items():
            total = self._sums[name]
            np.add(total, array if share == 1.0 else np.multiply(array, share, dtype=np.float64), out=total)

    def mean(self) -> Arrays:
        """Return the mean of what was added, nothing if nothing was."""
        means: Arrays = {}
        for name, total in self._sums.items():
            dtype, mean = self._dtypes[name], total / self._total
            rounded = np.round(mean) if np.issubdtype(dtype, np.integer) else mean
            means[name] = np.asarray(rounded, dtype=dtype)  # NumPy makes scalars of arrays without axes
        return means


def add_reply(average: Average, reply: Message, *, weighted: bool) -> MetricRecord:
    """Add a reply's arrays, by its ``num-examples`` or equally; return its metrics, the part that is worth keeping."""
    metrics, arrays = reply.content["metrics"], reply.content["arrays"]
    if not isinstance(metrics, MetricRecord) or not isinstance(arrays, ArrayRecord):
        raise TypeError("a reply to average needs arrays and metrics")
    average.add(wire.views(arrays), _number(metrics[WEIGHT]) if weighted else 1.0)
    return metrics


def average_replies(replies: Iterable[Message], *, weighted: bool) -> tuple[ArrayRecord, MetricRecord]:
    """Average the arrays of replies, by their ``num-examples`` or equally, and their metrics by ``num-examples``."""
    average = Average()
    told = [add_reply(average, reply, weighted=weighted) for reply in replies]
    return wire.record(average.mean()), average_metrics(told)


def average_metrics(told: Sequence[MetricRecord]) -> MetricRecord:
    """Average numbers that clients told, weighted by their ``num-examples``.

    Flower's own function does the same through several records a client, which takes longer than the arrays.
    """
    weights = [_number(record[WEIGHT]) for record in told]
    total, means = sum(weights), dict[str, float]()
    for record, weight in zip(told, weights, strict=True):
        share = weight / total
        for name, value in record.items():
            if name != WEIGHT:
                means[name] = means.get(name, 0.0) + _number(value) * share
    return MetricRecord(dict(means))


def _number(value: MetricRecordValues) -> float:
    return float(value)  # type: ignore[arg-type]  # lists are information, not metrics: see `adapter`
