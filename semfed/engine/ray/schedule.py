"""Which actor is asked what next while an exchange goes on."""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

from semfed.flower.averaging import boundary


class Schedule:
    """What has not been asked yet: a row of places for every actor.

    Batches end where large sums of replies do (see `semfed.flower.averaging.Average`) and shrink towards the end of a
    row, from which a actor that is ahead then takes some: processors are seldom equally quick.

    Parameters
    ----------
    rows : sequence of sequence of int
        Places of every actor, ascending.
    work : sequence of float
        By place.
    movable : bool
        Whether workers may take from each other's rows.
    """

    def __init__(self, rows: Sequence[Sequence[int]], work: Sequence[float], *, movable: bool) -> None:
        self._rows = [deque(row) for row in rows]
        self._work = work
        self._movable = movable
        self._given: list[deque[float]] = [deque() for _ in rows]
        self._least = [1] * len(rows)

    @property
    def over(self) -> bool:
        """Whether everything has been given away."""
        return not any(self._rows)

    def waiting(self, actor: int) -> int:
        """Return how many batches a actor has been given that are not done."""
        return len(self._given[actor])

    def done(self, actor: int) -> None:
        """Note that a actor's first batch is done."""
        self._given[actor].popleft()

    def take(self, actor: int, most: int, least: int) -> list[int]:
        """Give a actor its next batch.

        Parameters
        ----------
        actor : int
        most : int
            Size of a batch; half of this for a actor that has nothing to do.
        least : int
            What is smaller is not worth a batch of its own, by the pace of this actor.

        Returns
        -------
        list of int
            Places, ascending; none if nothing is left that this actor would finish sooner than others.
        """
        row, given = self._rows[actor], self._given[actor]
        self._least[actor] = least
        if not row and self._movable:
            row.extend(self._taken_over(actor))
        half = (len(row) + 1) // 2
        size = len(row)
        if half >= max(least, 2):
            size = min(half, most if given else (most + 1) // 2)
            size = self._cut(row, max(size // 4, 1), size)
        batch = [row.popleft() for _ in range(size)]
        if batch:
            given.append(self._sum(batch))
        return batch

    def _taken_over(self, actor: int) -> list[int]:
        """Take the end of the row of whoever is furthest behind, so that both have as much left."""
        behind = max(range(len(self._rows)), key=self._not_begun)
        row = self._rows[behind]
        surplus = (self._not_begun(behind) - sum(self._given[actor])) / 2
        count = 0
        while count < len(row) and self._work[row[-1 - count]] <= surplus:
            surplus -= self._work[row[-1 - count]]
            count += 1
        if count < max(self._least[behind] // 2, 1):
            return []
        kept = self._cut(row, len(row) - count, len(row) - (count + 1) // 2)
        return [row.pop() for _ in range(len(row) - kept)][::-1]

    def _not_begun(self, actor: int) -> float:
        """Return the work that is left to a actor, without what it is doing: that may be nearly done."""
        return sum(list(self._given[actor])[1:]) + self._sum(self._rows[actor])

    def _cut(self, row: Sequence[int], low: int, high: int) -> int:
        """Return how many places of a row come before the end of the largest sum; at least `low`, at most `high`."""
        end = row[high] if high < len(row) else row[-1] + 1
        return bisect_left(row, boundary(len(self._work), row[low] - 1, end))

    def _sum(self, places: Sequence[int]) -> float:
        return sum(self._work[place] for place in places)
