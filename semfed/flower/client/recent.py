"""A small memory of results that are costly to make."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Keeps the results that were used last. It changes no result as long as a key names all that one depends on.

    Parameters
    ----------
    size : int
        How many results to keep.

    Examples
    --------
    >>> squares = Recent(size=2)
    >>> squares.get(3, lambda: 9), squares.get(3, lambda: 0)
    (9, 9)
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the result under a key; `make` makes it where it is not kept."""
        if key not in self._kept:
            self._kept[key] = make()
        self.put(key, self._kept[key])
        return self._kept[key]

    def has(self, key: Hashable) -> bool:
        """Whether a result is kept."""
        return key in self._kept

    def put(self, key: Hashable, result: T) -> None:
        """Keep a result; the one that was used longest ago goes where there are too many."""
        self._kept[key] = result
        self._kept.move_to_end(key)
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)

    def take(self, key: Hashable) -> T | None:
        """Return the result under a key and keep it no longer; None where it is not kept."""
        return self._kept.pop(key, None)
