import math
import os
import socket
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest
import tomli_w
import torch
from torch import Tensor

from semfed.channels import Channel, ChannelState
from semfed.engine.inprocess import InProcessGrid
from semfed.flower.client.app import make_client_app
from semfed.flower.client.session import Session
from semfed.flower.compat import task_identity
from semfed.flower.server.federation import Federation
from semfed.flower.trial import Trial
from semfed.scenario import Scenario, overrides, plugins
from tests.processes import with_variable

hypothesis.settings.register_profile("semfed", deadline=None)  # how long an example takes says what else runs here
hypothesis.settings.load_profile("semfed")


@pytest.fixture
def data_root() -> Path:
    """The root of the real data sets; tests on them are skipped where it is not given."""
    if not os.environ.get("SEMFED_DATA"):
        pytest.skip("real data are needed: set SEMFED_DATA")
    return Path(os.environ["SEMFED_DATA"])


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decode data sets into a cache of the test session, which its processes share."""
    before, own = os.environ.get("SEMFED_CACHE"), tmp_path_factory.getbasetemp()
    os.environ["SEMFED_CACHE"] = str((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "cache")
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
    with task_identity():
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
        return Federation(grid, Trial(scenario.arm(name), name, seed), timeout=5.0)

    return opened


@dataclass(frozen=True)
class Transmission:
    """Of one batch: powers per symbol, and how many symbols arrived."""

    sent: float
    arrived: float
    noise: float
    symbols: int

    @property
    def snr_db(self) -> float:
        """Of the noise, for the power that was sent per symbol."""
        return 10 * math.log10(self.sent / self.noise)

    @property
    def tolerance_db(self) -> float:
        """Five standard deviations of the measurement of the noise's power, in dB."""
        return 5 * 10 / math.log(10) * math.sqrt(2 / self.symbols)


Capture = Callable[[pytest.MonkeyPatch, str], dict[float, list[Transmission]]]


@pytest.fixture(scope="session")
def capture() -> Capture:
    """Note what really goes through channels of a name, by the SNR asked for and without the library's own meters.

    The noise of the scenario's own settings is asked for before anything is copied.
    """
    return _capture


def _capture(patch: pytest.MonkeyPatch, name: str) -> dict[float, list[Transmission]]:
    kind, noted = plugins.load("channels", name), defaultdict[float, list[Transmission]](list)
    original = kind.distort

    def distort(self: Channel, x: Tensor, state: ChannelState) -> Tensor:
        again = torch.Generator(device=state.generator.device)
        again.set_state(state.generator.get_state())
        received = original(self, x, state)
        quiet = kind(type(self.settings).model_validate({**self.settings.model_dump(), "snr_db": math.inf}))
        quiet.response = getattr(self, "response", None)
        with torch.no_grad():
            arrived = original(quiet, x, ChannelState(again))
            per_symbol = self.settings.reals_per_symbol
            sent, signal, noise = (
                float(part.square().mean()) * per_symbol for part in (x, arrived, received - arrived)
            )
        noted[self.settings.snr_db].append(Transmission(sent, signal, noise, received.numel() // per_symbol))
        return received

    def scenario(session: Session) -> Scenario:
        found = session.trial.scenario
        assert found.channel.settings.noise_std > 0  # type: ignore[attr-defined]
        return found

    patch.setattr(kind, "distort", distort)
    patch.setattr(Session, "scenario", property(scenario))
    return noted


@pytest.fixture
def module_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Write a module, by its name and its code, beside a scenario of one arm; it is forgotten afterwards."""

    def write(name: str, code: str) -> Path:
        tree = overrides.load("digits").tree()
        del tree["arms"], tree["headline"]
        (tmp_path / f"{name}.py").write_text(code)
        (tmp_path / "scenario.toml").write_text(tomli_w.dumps(tree))
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.delitem(sys.modules, name, raising=False)
        return tmp_path

    return write


@pytest.fixture
def flower_home(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which Flower keeps what it starts apart, and the end of all of it."""
    ports = []
    for _ in range(2):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            ports.append(str(listener.getsockname()[1]))
    own = {
        "HOME": str(tmp_path),
        "FLWR_HOME": str(tmp_path / "flwr"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": ports[0],
        "FLWR_LOCAL_CONTROL_API_PORT": ports[1],
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
    yield own
    mine = with_variable("FLWR_HOME", own["FLWR_HOME"])
    for process in mine:
        process.kill()
    psutil.wait_procs(mine, timeout=10)
