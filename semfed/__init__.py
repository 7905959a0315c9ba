"""Federated semantic communication on Flower: scenarios, channels, learners and strategies in one place."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semfed.runs.api import run

__all__ = ["run"]
__version__ = version("semfed")


def __getattr__(name: str) -> Any:
    """Load `run` on first use, so that reading a scenario does not import torch."""
    if name == "run":
        from semfed.runs.api import run

        return run
    raise AttributeError(f"module 'semfed' has no attribute {name!r}")
