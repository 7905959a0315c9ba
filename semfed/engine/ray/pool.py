"""Actors that follow one order after the other, each in a process of its own, anywhere on a Ray cluster."""

import logging
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError, RayTaskError

from semfed.engine.ray.cluster import count_actors, enter
from semfed.errors import EngineError

LOST = (RayActorError, ObjectLostError, OutOfMemoryError)
"""An actor that died, or a machine, also with a result that was on it alone."""
RESTARTS = 3
"""How often an order is given again because the actor that had it died."""


@ray.remote
class OrderTaker:
    """An actor that follows orders with what it keeps from one to the next, such as data.

    Parameters
    ----------
    make : callable
        Returns what follows an order. It is called with the first one, so that what goes wrong is that order's result.
    """

    def __init__(self, make: Callable[[], Callable[..., Any]]) -> None:
        self._make = make
        self._follow: Callable[..., Any] | None = None

    def follow(self, *order: Any) -> Any:
        """Do what the order says."""
        if self._follow is None:
            self._follow = self._make()
        return self._follow(*order)


class ActorPool:
    """Actors of one CPU each.

    Parameters
    ----------
    make : callable
        See `OrderTaker`; it is pickled, and so are orders and results.
    count : int
        How many actors.
    address : str, optional
        Of a Ray cluster to join; a private one is started on this machine by default.
    gpus : float, default 0
        Share of a GPU for every actor.

    Raises
    ------
    EngineError
        If Ray cannot be started or joined, or has no room.
    """

    def __init__(
        self,
        make: Callable[[], Callable[..., Any]],
        count: int,
        *,
        address: str | None = None,
        gpus: float = 0.0,
    ) -> None:
        self._make = make
        self._options = {"num_cpus": 1, "num_gpus": gpus}
        self.actors: list[Any] = []
        self._owns_cluster = enter(address, count)
        try:
            count_actors(count, count, gpus, ray.nodes(), option="--jobs")  # type: ignore[no-untyped-call]
        except EngineError:
            self.close()
            raise
        self.actors += [self._start() for _ in range(count)]
        self._under_way: dict[Any, tuple[int, Hashable, tuple[Any, ...]]] = {}
        self._lost = Counter[Hashable]()

    @property
    def idle(self) -> list[int]:
        """The actors that have nothing to do, by their places."""
        busy = {actor for actor, _, _ in self._under_way.values()}
        return [actor for actor in range(len(self.actors)) if actor not in busy]

    def give(self, actor: int, name: Hashable, *order: Any) -> None:
        """Let an idle actor follow an order; its result is told by the name."""
        self._under_way[self.actors[actor].follow.remote(*order)] = (actor, name, order)

    def take(self) -> list[tuple[int, Hashable, Any]]:
        """Return what has been done since the last call: actor, name and result, without waiting for anything.

        Where an actor died, another one takes its place and follows the same order.

        Raises
        ------
        EngineError
            If one order lost more than `RESTARTS` actors, or could not be followed at all.
        """
        under_way = list(self._under_way)
        ready, _ = ray.wait(under_way, num_returns=len(under_way), timeout=0) if under_way else ([], [])
        done = []
        for reference in ready:
            actor, name, order = self._under_way.pop(reference)
            try:
                done.append((actor, name, ray.get(reference)))
            except LOST as error:
                self._lost[name] += 1
                if self._lost[name] > RESTARTS:
                    raise EngineError(
                        f"a Ray actor died {self._lost[name]} times with {name}, for want of memory perhaps: {error}"
                    ) from error
                logging.getLogger(__name__).warning("a Ray actor died; %s is run again", name)
                with suppress(Exception):
                    ray.kill(self.actors[actor])
                self.actors[actor] = self._start()
                self.give(actor, name, *order)
            except RayTaskError as error:
                cause = error.cause
                raise EngineError(f"a Ray actor cannot run {name}: {type(cause).__name__}: {cause}") from error
        return done

    def close(self) -> None:
        """End the actors, and Ray itself where this pool started it."""
        for actor in self.actors:
            with suppress(Exception):
                ray.kill(actor)
        if self._owns_cluster:
            ray.shutdown()

    def _start(self) -> Any:
        return OrderTaker.options(**self._options).remote(self._make)  # type: ignore[attr-defined]
