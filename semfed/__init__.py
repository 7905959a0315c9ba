"""Federated semantic communication on Flower: scenarios, channels, learners and strategies in one place."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semfed.runs.api import run
    from semfed.runs.loading import load

__all__ = ["load", "run"]
__version__ = version("semfed")


def __getattr__(name: str) -> Any:
    """Import `run` and `load` on first use, so that reading a scenario does not import torch."""
    if name == "run":
        from semfed.runs.api import run

        return run
    if name == "load":
        from semfed.runs.loading import load

        return load
    raise AttributeError(f"module 'semfed' has no attribute {name!r}")
