"""What a check is: a part, a name, and a function that fails with one sentence."""

import random
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch

from semfed.scenario.plugins import Plugin
from semfed.training.isolation import isolated


class CheckFailed(AssertionError):
    """A part does not do what others rely on; the message is one sentence with the remedy."""


class DoesNotApply(unittest.SkipTest):
    """There is nothing to check, and why; pytest shows such a check as skipped."""


def require(holds: bool, problem: str) -> None:
    """Fail with a sentence if something does not hold."""
    if not holds:
        raise CheckFailed(problem)


def skip(reason: str) -> NoReturn:
    """Leave a check, since there is nothing to check."""
    raise DoesNotApply(reason)


@contextmanager
def without_global_draws(remedy: str) -> Iterator[None]:
    """Fail where the block moves a global random generator."""
    before = _global_generators()
    yield
    after = _global_generators()
    moved = [name for name, state in before.items() if after[name] != state]
    require(not moved, f"it moves the global generator of {' and '.join(moved)}: {remedy}")


def _global_generators() -> dict[str, Any]:
    of_numpy = np.random.get_state(legacy=False)  # noqa: NPY002
    words = of_numpy["state"]
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "NumPy": (words["key"].tobytes(), words["pos"], of_numpy["has_gauss"], of_numpy["gauss"]),
        "Python": random.getstate(),
    }


@dataclass(frozen=True)
class Subject:
    """A part with its settings, as checks get it; each kind adds what its checks need.

    Attributes
    ----------
    choice : Plugin
    """

    choice: Plugin

    def __str__(self) -> str:
        name = self.choice.name.rpartition(":")[2]
        given = [
            f"{key}={value}" if isinstance(value, str | int | float) else f"{key}=..."
            for key, value in self.choice.settings.model_dump(exclude_defaults=True).items()
        ]
        return f"{name}({', '.join(given)})" if given else name


@dataclass(frozen=True)
class Check:
    """One check of one part: call it.

    Attributes
    ----------
    subject : Subject
    name : str
    function : callable
        Raises `CheckFailed` or `DoesNotApply`.
    """

    subject: Subject
    name: str
    function: Callable[[Any], None]

    def __str__(self) -> str:
        return f"{self.subject}-{self.name}"

    def __call__(self) -> None:
        """Check, in surroundings as those of a fresh process.

        Raises
        ------
        CheckFailed
            With one sentence.
        DoesNotApply
            If there is nothing to check.
        """
        failure = f"{self.subject} fails {self.name}"
        try:
            with isolated():
                self.function(self.subject)
        except DoesNotApply:
            raise
        except CheckFailed as problem:
            raise CheckFailed(f"{failure}: {problem}") from None
        except Exception as error:
            kind = type(error).__name__
            raise CheckFailed(f"{failure}: {kind}: {error}; mend what the traceback above shows") from error
