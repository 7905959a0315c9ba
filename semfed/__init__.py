"""Federated semantic communication on Flower: scenarios, channels, learners and strategies in one place."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semfed.runs.api import run
    from semfed.runs.link import Link
    from semfed.runs.loading import load

__all__ = ["Link", "load", "run"]
__version__ = version("semfed")
_HOMES = {"run": "semfed.runs.api", "load": "semfed.runs.loading", "Link": "semfed.runs.link"}


def __getattr__(name: str) -> Any:
    """Import `run`, `load` and `Link` on first use, so that reading a scenario does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'semfed' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
