"""Averages of clients' arrays, taken while the replies come in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, Message, MetricRecord, MetricRecordValues

from semfed.errors import FederationError
from semfed.flower import arrays as wire
from semfed.flower.arrays import Arrays

WEIGHT = "num-examples"
"""Metric of a reply by which averages are weighted, as in Flower."""
GROUP = 8
"""How many neighbouring updates are summed one after the other, at most."""


@dataclass
class PartialSum:
    """Weighted sum of the updates in some neighbouring places; see `Average`.

    Attributes
    ----------
    place : int
        Of its first update.
    end : int
        After its last one.
    sums : dict of str to ndarray of float64
        The updates times their shares.
    shares : float
        Sum of the shares: a share is a weight divided by `unit`.
    unit : float
        Weight of the first update, which makes equal weights 1; 1 if it has none.
    dtypes : dict of str to dtype
        Of the updates.
    """

    place: int
    end: int
    sums: Arrays
    shares: float
    unit: float
    dtypes: dict[str, np.dtype[Any]]

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], weight: float, place: int) -> "PartialSum":
        """Return the sum of one update."""
        dtypes = {name: array.dtype for name, array in arrays.items()}
        if not weight:
            return cls(place, place + 1, {name: np.zeros(a.shape) for name, a in arrays.items()}, 0.0, 1.0, dtypes)
        sums = {name: np.array(array, dtype=np.float64) for name, array in arrays.items()}
        return cls(place, place + 1, sums, 1.0, weight, dtypes)

    def add(self, arrays: Mapping[str, npt.NDArray[Any]], weight: float, place: int) -> None:
        """Add the next update."""
        self._add(arrays, 1.0, weight)
        self.end = place + 1

    def add_part(self, other: "PartialSum") -> None:
        """Add the sum of the updates in the next places."""
        self._add(other.sums, other.shares, other.unit)
        self.end = other.end

    def _add(self, arrays: Mapping[str, npt.NDArray[Any]], shares: float, unit: float) -> None:
        ratio = unit / self.unit
        self.shares += shares * ratio
        for name, array in arrays.items():
            total = self.sums[name]
            if not total.flags.writeable:  # it came from another process
                total = self.sums[name] = np.array(total)
            np.add(total, array if ratio == 1.0 else np.multiply(array, ratio, dtype=np.float64), out=total)


class Average:
    """Weighted mean of equally named arrays, with sums whose order depends on the updates' places alone.

    The places are halved, and the halves again, until there are at most `GROUP` in each. Updates in these are summed
    one after the other, and then the sums of the halves; places without an update are passed over. So other processes
    may sum the first updates of a group, or a whole half, and the mean is the same to the last bit. Sums are in float64
    and need the memory of a few updates. The mean of one update is that update, bit for bit; floating-point means are
    rounded back to the update's dtype, integer ones to whole numbers.

    Parameters
    ----------
    total : int
        How many places there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._parts: list[PartialSum] = []

    def add(self, arrays: Mapping[str, npt.NDArray[Any]], weight: float, place: int) -> None:
        """Add an update.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            The same names, shapes and dtypes every time.
        weight : float
            At least 0.
        place : int
            Greater than all before, less than the total.
        """
        self._join_before(place)
        if self._parts and self._parts[-1].place >= half(self._total, place, place)[0]:
            self._parts[-1].add(arrays, weight, place)
        else:
            self._parts.append(PartialSum.of(arrays, weight, place))

    def add_part(self, part: PartialSum) -> None:
        """Add the sum of the first updates of a group, or of a half, in places after all before."""
        self._join_before(part.place)
        self._parts.append(part)

    def mean(self) -> Arrays:
        """Return the mean of what was added, nothing if nothing was.

        Raises
        ------
        FederationError
            If all weights are 0.
        """
        while len(self._parts) > 1:
            self._join_last()
        if self._parts and not self._parts[0].shares:
            raise FederationError("all replies have num-examples = 0, so that there is no mean: give clients samples")
        means: Arrays = {}
        for part in self._parts:
            for name, total in part.sums.items():
                dtype, mean = part.dtypes[name], total / part.shares
                rounded = np.round(mean) if np.issubdtype(dtype, np.integer) else mean
                means[name] = np.asarray(rounded, dtype=dtype)  # NumPy makes scalars of arrays without axes
        return means

    def _join_before(self, place: int) -> None:
        """Join the parts of halves that end before a place."""
        parts = self._parts
        while len(parts) > 1 and half(self._total, parts[-2].place, parts[-1].place)[1] <= place:
            self._join_last()

    def _join_last(self) -> None:
        last = self._parts.pop()
        self._parts[-1].add_part(last)


def half(total: int, one: int, other: int) -> tuple[int, int]:
    """Return where the smallest half that holds both places begins and ends, or the group; see `Average`."""
    low, high = 0, total
    while high - low > GROUP:
        middle = (low + high) // 2
        if other < middle:
            high = middle
        elif one >= middle:
            low = middle
        else:
            break
    return low, high


def boundary(total: int, low: int, high: int) -> int:
    """Return where the largest half ends that ends after `low` and not after `high`, or `high`; see `Average`."""
    begin, end = half(total, low, high)
    return (begin + end) // 2 if end - begin > GROUP and high < total else high


class SummedReply(ArrayRecord):
    """Stands for a reply's arrays that a worker has checked and added to others'; it never leaves this package.

    Parameters
    ----------
    size : int
        Bytes of what it stands for.
    part : PartialSum, optional
        The sum, at the first of the replies that it is made of.
    """

    def __init__(self, size: int, part: PartialSum | None = None) -> None:
        super().__init__()
        self.size, self.part = size, part

    def count_bytes(self) -> int:
        """Return the bytes of what it stands for."""
        return self.size


def add_reply(average: Average, reply: Message, *, weighted: bool, place: int) -> MetricRecord:
    """Add a reply's arrays, by its ``num-examples`` or equally; return its metrics, the part that is worth keeping."""
    metrics, arrays = reply.content["metrics"], reply.content["arrays"]
    if not isinstance(metrics, MetricRecord) or not isinstance(arrays, ArrayRecord):
        raise TypeError("a reply to average needs arrays and metrics")
    if isinstance(arrays, SummedReply):
        if arrays.part is not None:
            average.add_part(arrays.part)
    else:
        average.add(wire.views(arrays), weight_of(metrics) if weighted else 1.0, place)
    return metrics


def metrics_of(replies: Iterable[Message]) -> list[MetricRecord]:
    """Return the metrics of replies. Flower's ``metric_records`` makes a copy each time, which takes longer."""
    each = (record for reply in replies for record in reply.content.values())
    return [record for record in each if isinstance(record, MetricRecord)]


def average_metrics(told: Sequence[MetricRecord]) -> MetricRecord:
    """Average numbers that clients told, weighted by their ``num-examples``.

    Flower's own function does the same through several records a client, which takes longer than the arrays.
    """
    weights = [weight_of(record) for record in told]
    total, means = sum(weights), dict[str, float]()
    for record, weight in zip(told, weights, strict=True):
        share = weight / total
        for name, value in record.items():
            if name != WEIGHT:
                means[name] = means.get(name, 0.0) + _number(value) * share
    return MetricRecord(dict(means))


def weight_of(metrics: MetricRecord) -> float:
    """Return how much a reply weighs."""
    return _number(metrics[WEIGHT])


def _number(value: MetricRecordValues) -> float:
    return float(value)  # type: ignore[arg-type]  # lists are information, not metrics: see `adapter`
