"""How many clients train side by side: found out while they train, from the time and the memory that they take."""

import math
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

GAIN = 0.1
"""Share of a client's time that a cohort twice as large has to save."""
TRIES = 2
"""Cohorts of every size, of which the quicker one counts: the first of a shape warms up."""
SHARE = 0.5
"""Of the memory that is free, how much a cohort may be expected to take."""


@dataclass
class Cost:
    """What a cohort took.

    Attributes
    ----------
    seconds : float
    grown : int
        Bytes of memory at its peak, beyond what was there.
    free : int
        Bytes that were free before.
    """

    seconds: float = math.nan
    grown: int = 0
    free: int = 0


class CohortSize:
    """The size of the cohorts of one architecture and one kind of minibatches.

    Sizes double, from a client alone on, as long as twice as many took a tenth less time a client, and would not take
    more than half of the memory that is free, by what the last ones took. Two are tried in any case, and four: a cohort
    has a cost of its own, which only many clients make up for. From then on it is the size of the least time a client.
    """

    def __init__(self) -> None:
        self.chosen: int | None = None
        self._trying, self._tries = 1, 0
        self._least: dict[int, float] = {}

    def of(self, left: int, total: int) -> int:
        """Return how many of the clients that are left of a group make the next cohort.

        Once a size is chosen, a group's cohorts are about equal.
        """
        if self.chosen is None:
            return min(self._trying, total, left)
        return math.ceil(left / math.ceil(left / self.chosen))

    def note(self, size: int, total: int, cost: Cost) -> None:
        """Take note of a cohort.

        Parameters
        ----------
        size : int
        total : int
            Clients of the group that it is of. What was left over at its end tells nothing.
        cost : Cost
        """
        if self.chosen is not None or size != min(self._trying, total):
            return
        self._least[size] = min(self._least.get(size, math.inf), cost.seconds / size)
        self._tries += 1
        if self._tries < TRIES:
            return
        before = self._least.get(size // 2, math.inf)
        pays = size <= 2 or self._least[size] <= (1 - GAIN) * before
        fits = 2 * cost.grown <= SHARE * cost.free
        self._trying, self._tries = 2 * size, 0
        if not (pays and fits) or size == total:
            self._choose()

    def too_large(self, size: int) -> None:
        """Take note that there was not enough memory for a cohort; never take one as large again."""
        self._least = {known: least for known, least in self._least.items() if known < size}
        self._choose(most=max(size // 2, 1))

    def _choose(self, most: int | None = None) -> None:
        least = self._least or {most or 1: 0.0}
        self.chosen = min(least, key=lambda size: least[size])


@contextmanager
def measured(device: torch.device) -> Iterator[Cost]:
    """Measure what is computed meanwhile; what it leaves on a GPU must have been waited for."""
    cost, started = Cost(free=_free(device)), time.perf_counter()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    else:
        before = _peak_of_process()
    yield cost
    after = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _peak_of_process()
    cost.seconds, cost.grown = time.perf_counter() - started, max(after - before, 0)


def _free(device: torch.device) -> int:
    """Return bytes that nobody uses; on a GPU with those that torch holds in reserve."""
    if device.type == "cuda":
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserve
    return int(psutil.virtual_memory().available)


def _peak_of_process() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
