import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from semfed import overrides
from semfed.engine.inprocess import InProcessGrid, flower_identity
from semfed.flower.adapter import make_client_app
from semfed.flower.experiment import Experiment
from semfed.flower.federation import Federation
from semfed.scenario import Scenario


@pytest.fixture
def data_root() -> Path:
    """The root of the real data sets; tests on them are skipped where it is not given."""
    if not os.environ.get("SEMFED_DATA"):
        pytest.skip("real data are needed: set SEMFED_DATA")
    return Path(os.environ["SEMFED_DATA"])


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decode data sets into a cache of the test session."""
    before = os.environ.get("SEMFED_CACHE")
    os.environ["SEMFED_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["SEMFED_CACHE"]
    else:
        os.environ["SEMFED_CACHE"] = before


@pytest.fixture
def digits() -> Scenario:
    """The embedded scenario, two rounds of one epoch."""
    return overrides.load("digits", ["rounds=2", "training.epochs=1"], seeds=[0])


@pytest.fixture
def identity() -> Iterator[None]:
    """Allow this process to create Flower messages."""
    with flower_identity():
        yield


@pytest.fixture
def open_federation(identity: None) -> Callable[..., Federation]:
    """Open a scenario's arm in this process; `nodes` may be fewer than its clients."""

    def opened(
        scenario: Scenario,
        arm: str | None = None,
        *,
        seed: int = 0,
        nodes: int | None = None,
        app: Any = None,
        **config: Any,
    ) -> Federation:
        name = arm or scenario.arm_names[0]
        grid = InProcessGrid(app or make_client_app(), nodes or len(scenario.clients), config)
        return Federation(grid, Experiment(scenario.arm(name), name, seed), timeout=5.0)

    return opened
