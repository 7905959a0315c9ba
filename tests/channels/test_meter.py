"""What is measured of transmissions, against hand computation and against what the settings ask for."""

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from semfed.channels import Channel, ChannelState, Meter
from semfed.channels.awgn import AWGN
from semfed.channels.mimo import MIMO, draw_response
from semfed.scenario import plugins

SAMPLES = 20_000
TOLERANCE_DB = 0.1
"""More than four standard deviations of every measurement below; independent fading of 2e4 samples is the widest."""

FLAT = [
    {"name": "awgn"},
    {"name": "awgn", "symbols": "complex"},
    {"name": "rayleigh"},
    {"name": "rayleigh", "fading": "block"},
    {"name": "rayleigh", "symbols": "complex"},
    {"name": "rayleigh", "symbols": "complex", "receiver": "phase"},
    {"name": "rayleigh", "symbols": "complex", "receiver": "mmse"},
]


def make(**table: Any) -> Channel:
    choice = plugins.parse("channels", table)
    channel: Channel = choice.make()
    return channel


def measure(channel: Channel, *batches: Tensor, seed: int = 0) -> dict[str, float]:
    state = ChannelState(torch.Generator().manual_seed(seed), Meter())
    for x in batches:
        channel(x, state)
    return state.metrics()


def signal(numbers: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(SAMPLES, numbers, generator=torch.Generator().manual_seed(9), dtype=dtype) * 3 + 1


@pytest.mark.parametrize(("symbols", "power"), [("real", 7.5), ("complex", 15.0)])
def test_transmit_power_of_a_known_signal(symbols: str, power: float) -> None:
    """(1 + 4 + 9 + 16 + 0 + 0 + 25 + 5) / 8 = 7.5 a real number, over batches of unequal size."""
    x = torch.tensor([[1.0, -2.0], [3.0, 4.0], [0.0, 0.0], [5.0, -(5**0.5)]])
    told = measure(make(name="awgn", power="none", symbols=symbols), x[:1], x[1:])
    assert told["power/transmit"] == pytest.approx(power, rel=1e-6)
    assert told["channel-uses"] == (8 if symbols == "real" else 4)


def test_received_snr_of_a_known_signal_is_that_of_the_noise_which_was_drawn() -> None:
    x, draw = torch.tensor([[3.0, -4.0]]), torch.randn(1, 2, generator=torch.Generator().manual_seed(3))
    told = measure(make(name="awgn", power="none", snr_db=10.0), x, seed=3)
    assert told["snr/received-db"] == pytest.approx(10 * math.log10(25 / (0.1 * float(draw.square().sum()))), rel=1e-5)


@pytest.mark.parametrize("snr_db", [-5.0, 6.020599913279624, 30.0])
@pytest.mark.parametrize("power", ["sample", "batch"])
@pytest.mark.parametrize("table", FLAT, ids=str)
def test_at_unit_power_the_received_snr_is_the_nominal_one(table: dict[str, Any], power: str, snr_db: float) -> None:
    told = measure(make(**table, power=power, snr_db=snr_db), signal())
    assert told["power/transmit"] == pytest.approx(1, abs=1e-4)
    assert told["snr/received-db"] == pytest.approx(snr_db, abs=TOLERANCE_DB)


@pytest.mark.parametrize("table", [*FLAT, {"name": "mimo", "uses": 2}], ids=str)
def test_twice_the_amplitude_is_six_decibels_more(table: dict[str, Any]) -> None:
    channel = make(**table, power="none", snr_db=3.0)
    once, twice = measure(channel, signal()), measure(channel, 2 * signal())
    assert twice["power/transmit"] == pytest.approx(4 * once["power/transmit"], rel=1e-5)
    assert twice["snr/received-db"] - once["snr/received-db"] == pytest.approx(10 * math.log10(4), abs=1e-4)


@pytest.mark.parametrize("receive", [1, 4])
def test_a_mimo_receiver_gets_what_its_matrix_lets_through(receive: int) -> None:
    """White symbols of unit power: |H|_F^2 / N_R a received symbol, N_T on average over H."""
    settings = MIMO.Settings(uses=2, transmit_antennas=3, receive_antennas=receive, snr_db=5.0, power="sample")
    response = draw_response(receive, 3, torch.Generator().manual_seed(1))
    x = torch.randn(SAMPLES, 12, generator=torch.Generator().manual_seed(2))
    told = measure(MIMO(settings).fix(response), x)
    gain = float(response.abs().square().sum()) / receive
    assert told["power/transmit"] == pytest.approx(1, abs=1e-4)
    assert told["snr/received-db"] == pytest.approx(5 + 10 * math.log10(gain), abs=TOLERANCE_DB)
    changing = MIMO(settings)
    told = measure(changing, *x.split(4))
    assert told["snr/received-db"] == pytest.approx(5 + 10 * math.log10(3), abs=TOLERANCE_DB)


def test_measuring_changes_no_number_and_is_left_out_by_default() -> None:
    for table in (*FLAT, {"name": "mimo", "uses": 2}):
        channel, x = make(**table), signal()[:50]
        states = [ChannelState(torch.Generator().manual_seed(0), meter) for meter in (None, Meter())]
        first, second = (channel(x, state) for state in states)
        assert torch.equal(first, second)
        assert states[0].metrics() == {"channel-uses": states[1].uses}
        assert torch.isfinite(torch.autograd.grad(channel(x.requires_grad_(), states[1]).sum(), x)[0]).all()


class Rounding(AWGN):
    """A channel of somebody else, which knows nothing of meters."""

    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        return x.round()


def test_a_channel_of_a_third_party_has_its_transmit_power_and_claims_no_snr() -> None:
    told = measure(Rounding(Rounding.Settings(power="none")), torch.full((2, 3), 2.0))
    assert told == {"channel-uses": 6, "power/transmit": 4.0}


@pytest.mark.parametrize(("x", "snr_db", "told"), [(1.0, math.inf, 300.0), (0.0, 3.0, -300.0), (0.0, math.inf, 300.0)])
def test_no_noise_and_no_signal_are_numbers_that_json_can_hold(x: float, snr_db: float, told: float) -> None:
    metrics = measure(make(name="awgn", power="none", snr_db=snr_db), torch.full((4, 2), x))
    assert metrics["snr/received-db"] == told
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_what_is_not_a_number_is_not_told_as_one() -> None:
    told = measure(make(name="awgn", power="none"), torch.tensor([[math.nan, 1.0]]))
    assert math.isnan(told["power/transmit"])
    assert math.isnan(told["snr/received-db"])


def test_nothing_sent_is_nothing_told() -> None:
    assert Meter().metrics() == {}


def test_meters_add_up() -> None:
    channel, parts = make(name="rayleigh"), signal()[:200].split([50, 150])
    together, apart = Meter(), [Meter(), Meter()]
    for part, meter in zip(parts, apart, strict=True):
        for each in (together, meter):
            channel(part, ChannelState(torch.Generator().manual_seed(len(part)), each))
    assert (apart[0] + apart[1]).metrics() == pytest.approx(together.metrics(), rel=1e-12)
