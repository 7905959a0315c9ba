"""The smallest part of every kind, as the documentation shows it, passes the checks of its kind."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from semfed.testing import (
    check_channel,
    check_client,
    check_dataset,
    check_model,
    check_partition,
    check_strategy,
)

PAGE = Path(__file__).parents[2] / "docs" / "parts.md"


@pytest.fixture(scope="module")
def parts() -> Iterator[ModuleType]:
    """All code of the page as one module, under a name that no other test uses."""
    module = ModuleType("documented_parts")
    sys.modules[module.__name__] = module
    exec("\n\n".join(re.findall(r"```python[^\n]*\n(.*?)```", PAGE.read_text(), re.DOTALL)), module.__dict__)
    yield module
    del sys.modules[module.__name__]


def test_channel(parts: ModuleType) -> None:
    check_channel({"name": parts.Erasure, "probability": 0.2})


def test_strategies(parts: ModuleType) -> None:
    check_strategy(parts.Median)
    check_strategy(parts.Momentum)
    check_strategy({"name": parts.FedProx, "proximal_mu": 1.0})


def test_clients(parts: ModuleType) -> None:
    check_client(parts.Smallest)
    check_client(parts.Shared)
    check_client(parts.Reconstruction)


def test_model(parts: ModuleType) -> None:
    check_model(parts.Bottleneck)


def test_data_set(parts: ModuleType) -> None:
    check_dataset(parts.Stripes)


def test_partition(parts: ModuleType) -> None:
    check_partition(parts.RoundRobin)
    check_partition(parts.Chronological, attributes={"year": range(1990, 2020)})
