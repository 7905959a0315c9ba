"""Which actor serves which nodes.

Nodes in a row stay together where that costs no time: sums of their replies are then made by one actor.
"""

import heapq
from collections.abc import Sequence

SLACK = 1.02
"""How much longer than necessary the busiest actor may take."""

Placed = list[list[int]]
"""Indices of every actor, ascending."""


def place(sizes: Sequence[float], workers: int) -> Placed:
    """Distribute work: neighbours together where workers then have as much to do as with the longest first.

    Returns
    -------
    Placed

    Examples
    --------
    >>> place([5, 1, 1, 3], 2)
    [[0], [1, 2, 3]]
    >>> place([2, 9, 2, 9], 2)
    [[0, 1], [2, 3]]
    >>> place([9, 9, 2, 2], 2)
    [[0, 2], [1, 3]]
    """
    together, spread = rows(sizes, workers), _longest_first(sizes, workers)
    return together if all(together) and longest(together, sizes) <= SLACK * longest(spread, sizes) else spread


def longest(placed: Sequence[Sequence[int]], sizes: Sequence[float]) -> float:
    """Return the work of the actor that has most."""
    return max(sum(sizes[k] for k in members) for members in placed)


def rows(sizes: Sequence[float], workers: int) -> Placed:
    """Cut the indices into ranges of equal work."""
    members: Placed = [[] for _ in range(workers)]
    before, share = 0.0, sum(sizes) / workers or 1.0
    for index, size in enumerate(sizes):
        members[min(int((before + size / 2) / share), workers - 1)].append(index)
        before += size
    return members


def _longest_first(sizes: Sequence[float], workers: int) -> Placed:
    """Give every piece of work, the longest first, to the actor that has least so far."""
    loads: list[tuple[float, int]] = [(0.0, actor) for actor in range(workers)]
    members: Placed = [[] for _ in range(workers)]
    for index in sorted(range(len(sizes)), key=lambda k: (-sizes[k], k)):
        load, actor = heapq.heappop(loads)
        members[actor].append(index)
        heapq.heappush(loads, (load + sizes[index], actor))
    return [sorted(own) for own in members]
