"""Fading channels against closed forms: distributions of gains, error rates, capacity, and what the receiver knows."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.special import exp1

import semfed
from semfed.channels import Channel, ChannelState
from semfed.errors import ScenarioError
from semfed.scenario import overrides, plugins
from tests.settings import bases

SAMPLES = 100_000
P_VALUE = 0.001


def make(**table: Any) -> Channel:
    channel: Channel = plugins.parse("channels", table).make()
    return channel


def state(seed: int = 0, *, trains: bool = False) -> ChannelState:
    return ChannelState(torch.Generator().manual_seed(seed), trains=trains)


def amplitudes(**table: Any) -> np.ndarray[Any, Any]:
    """What ones become on a channel without noise, real symbols."""
    return make(**table, power="none", snr_db=math.inf)(torch.ones(SAMPLES, 1), state()).numpy().ravel()


AMPLITUDES = [
    ({"name": "rayleigh"}, stats.rayleigh(scale=0.5**0.5)),
    *[
        ({"name": "rician", "k_factor": k}, stats.rice(b=(2 * k) ** 0.5, scale=(2 * (k + 1)) ** -0.5))
        for k in (0.0, 0.5, 4.0, 30.0)
    ],
    *[({"name": "nakagami", "m": m}, stats.nakagami(nu=m)) for m in (0.5, 1.0, 1.7, 6.0)],
]


@pytest.mark.parametrize(("table", "law"), AMPLITUDES, ids=[str(table) for table, _ in AMPLITUDES])
def test_amplitudes_have_their_distribution(table: dict[str, Any], law: Any) -> None:
    found = amplitudes(**table)
    assert stats.kstest(found, law.cdf).pvalue > P_VALUE
    assert np.mean(found**2) == pytest.approx(1, abs=0.02)
    assert np.mean(found**4) == pytest.approx(law.moment(4), rel=0.05)


@pytest.mark.parametrize("table", [{"name": "rayleigh"}, {"name": "nakagami", "m": 3.0}], ids=str)
def test_the_phase_is_uniform(table: dict[str, Any]) -> None:
    x = torch.tensor([[1.0, 0.0]]).expand(SAMPLES, 2)
    got = make(**table, symbols="complex", power="none", snr_db=math.inf)(x, state()).double()
    turns = torch.atan2(got[:, 1], got[:, 0]).numpy() / (2 * math.pi) + 0.5
    assert stats.kstest(turns, "uniform").pvalue > P_VALUE


def test_the_direct_path_has_phase_zero_and_its_share_of_power() -> None:
    x = torch.tensor([[1.0, 0.0]]).expand(SAMPLES, 2)
    got = make(name="rician", k_factor=3.0, symbols="complex", power="none", snr_db=math.inf)(x, state())
    assert got.mean(0).tolist() == pytest.approx([0.75**0.5, 0], abs=0.01)
    assert got.var(0).tolist() == pytest.approx([0.125, 0.125], rel=0.03)


EQUAL = [
    ({"name": "rician", "k_factor": 0.0}, {"name": "rayleigh"}),
    ({"name": "rician", "k_factor": 0.0, "symbols": "complex"}, {"name": "rayleigh", "symbols": "complex"}),
    (
        {"name": "rician", "k_factor": 0.0, "symbols": "complex", "receiver": "mmse", "fading": "block"},
        {"name": "rayleigh", "symbols": "complex", "receiver": "mmse", "fading": "block"},
    ),
]


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=str)
def test_without_a_direct_path_it_is_rayleigh_number_for_number(one: dict[str, Any], other: dict[str, Any]) -> None:
    x = torch.randn(50, 8)
    assert torch.equal(make(**one)(x, state()), make(**other)(x, state()))


@pytest.mark.parametrize("symbols", ["real", "complex"])
@pytest.mark.parametrize("table", [{"name": "rician", "k_factor": math.inf}, {"name": "nakagami", "m": 1e6}], ids=str)
def test_without_scattering_the_noise_alone_is_left(table: dict[str, Any], symbols: str) -> None:
    x = torch.randn(SAMPLES, 2)
    channel = make(**table, symbols=symbols, receiver="raw" if symbols == "real" else "phase", snr_db=3.0)
    noise = channel(x, state()) - channel.transmit(x, state())
    law = stats.norm(scale=channel.settings.noise_std)
    assert stats.kstest(noise.numpy().ravel()[:20_000], law.cdf).pvalue > P_VALUE


@pytest.mark.parametrize("name", ["rayleigh", "rician", "nakagami"])
def test_a_block_has_one_coefficient_and_symbols_have_their_own(name: str) -> None:
    for fading, same in (("block", True), ("symbol", False)):
        got = make(name=name, fading=fading, power="none", snr_db=math.inf)(torch.ones(100, 4), state())
        assert (got == got[:, :1]).all().item() is same
        assert len(got[:, 0].unique()) == 100


def errors(snr_db: float, **table: Any) -> float:
    """Measure the bit error rate of BPSK, symbols of power one."""
    bits = torch.randint(0, 2, (SAMPLES, 4), generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    return float((make(**table, power="none", snr_db=snr_db)(bits, state()).sign() != bits).double().mean())


def bpsk(mgf: Any) -> float:
    """Average Q(sqrt(2 gamma)) = 1/pi int_0^(pi/2) M(-1 / sin^2 t) dt over a fading SNR of that generating function."""
    return quad(lambda t: mgf(-1 / math.sin(t) ** 2), 0, math.pi / 2)[0] / math.pi


@pytest.mark.parametrize("snr_db", [0.0, 8.0])
@pytest.mark.parametrize("law", [("rician", k) for k in (0.5, 5.0)] + [("nakagami", m) for m in (0.5, 1.0, 2.5)])
def test_average_error_rates_are_the_closed_forms(law: tuple[str, float], snr_db: float) -> None:
    """Noise is real here: gamma = |h|^2 / (2 sigma^2)."""
    mean = 10 ** (snr_db / 10) / 2
    name, value = law
    if name == "rician":
        expected = bpsk(
            lambda s: (1 + value) / (1 + value - s * mean) * math.exp(value * s * mean / (1 + value - s * mean))
        )
        found = errors(snr_db, name=name, k_factor=value)
    else:
        expected = bpsk(lambda s: (1 - s * mean / value) ** -value)
        found = errors(snr_db, name=name, m=value)
    deviation = (expected * (1 - expected) / (4 * SAMPLES)) ** 0.5
    assert found == pytest.approx(expected, abs=4 * deviation)


@pytest.mark.parametrize("variance", [0.0, 0.1, 1.0])
def test_error_rates_with_a_wrong_estimate_are_the_closed_form(variance: float) -> None:
    """Given the estimate r, the gain is N(r / (1 + s), s / (2 (1 + s))), and r^2 is exponential of mean 1 + s."""
    power = 10**-0.8 + variance / (2 * (1 + variance))
    mean = 1 / (2 * (1 + variance) * power)
    expected = 0.5 * (1 - (mean / (1 + mean)) ** 0.5)
    found = errors(8.0, name="rayleigh", csi_error=variance)
    assert found == pytest.approx(expected, abs=4 * (expected / (4 * SAMPLES)) ** 0.5)


def test_a_wrong_estimate_turns_complex_symbols_by_the_error_of_its_phase() -> None:
    """E h conj(k) / |k| = E|k| / (1 + s) with k = h + e, |k| Rayleigh of mean square 1 + s."""
    x = torch.tensor([[1.0, 0.0]]).expand(SAMPLES, 2)
    table = {"name": "rayleigh", "symbols": "complex", "receiver": "phase", "power": "none", "snr_db": math.inf}
    got = make(**table, csi_error=0.5)(x, state())
    assert got.mean(0).tolist() == pytest.approx([(math.pi / 4 * 1.5) ** 0.5 / 1.5, 0], abs=0.01)
    assert got.square().sum(1).mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(make(**table, csi_error=0.0)(x, state()), make(**table)(x, state()))


def test_ergodic_capacity_of_rayleigh_fading_is_the_closed_form() -> None:
    """E log2(1 + |h|^2 gamma) = exp(1 / gamma) E1(1 / gamma) / ln 2, also by way of m = 1."""
    snr = 10.0
    expected = math.exp(1 / snr) * exp1(1 / snr) / math.log(2)
    for table in ({"name": "rayleigh"}, {"name": "nakagami", "m": 1.0}, {"name": "rician", "k_factor": 0.0}):
        assert np.log2(1 + snr * amplitudes(**table) ** 2).mean() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("table", [{"name": "awgn"}, {"name": "torch.nn:Identity"}, {"name": "rician"}], ids=str)
def test_while_training_every_sample_has_an_snr_of_its_own(table: dict[str, Any]) -> None:
    """E 10^(-u / 10) of u uniform in [-s, s] is sinh(s ln 10 / 10) / (s ln 10 / 10)."""
    channel = make(**table, snr_db=4.0, snr_spread_db=10.0, power="none")
    noise = channel(torch.zeros(SAMPLES // 4, 16), state(trains=True)).double()
    factor = math.log(10)
    expected = 10**-0.4 * math.sinh(factor) / factor
    assert noise.square().mean().item() == pytest.approx(expected, rel=0.02)
    powers = 10 * np.log10(noise.square().mean(1).numpy())
    assert powers.min() < -11
    assert powers.max() > 3
    tested = channel(torch.zeros(SAMPLES // 4, 16), state()).double()
    assert tested.square().mean().item() == pytest.approx(10**-0.4, rel=0.01)
    without = make(**table, snr_db=4.0, power="none")(torch.zeros(5, 4), state(trains=True))
    assert torch.equal(without, make(**table, snr_db=4.0, power="none")(torch.zeros(5, 4), state()))


def test_the_receiver_equalises_by_the_snr_that_was_drawn() -> None:
    """Less error than one that takes the nominal noise for true."""
    x = torch.randn(SAMPLES, 2, generator=torch.Generator().manual_seed(5))
    found = {}
    for receiver in ("mmse", "phase"):
        channel = make(name="rayleigh", symbols="complex", receiver=receiver, snr_db=5.0, snr_spread_db=20.0)
        used = state(trains=True)
        found[receiver] = channel(x, used), channel.transmit(x, used)
    generator = torch.Generator().manual_seed(0)
    h = torch.randn((2, SAMPLES, 1, 1), generator=generator).mul_(0.5**0.5).square().sum(0)[:, :, 0]
    drawn = 10 ** ((2 * torch.rand((SAMPLES, 1, 1), generator=generator)[:, :, 0] - 1) * 2)
    noise = 10**-0.5 * drawn
    y, sent = found["mmse"]
    torch.testing.assert_close(y, found["phase"][0] * h.sqrt() / (h + noise))
    wrong = (found["phase"][0] * h.sqrt() / (h + 10**-0.5) - sent).square().mean()
    assert (y - sent).square().mean() < 0.9 * wrong


def test_a_client_has_the_snr_that_it_is_given(tmp_path: Path) -> None:
    def received(changes: dict[str, Any], out: str) -> dict[str, float]:
        done = semfed.run(bases.BASES["plain"](), overrides=changes, out=tmp_path / out)
        final = next(iter(done.summary["arms"].values()))["final"]
        return {name: told["mean"] for name, told in final.items() if "simulation" not in name}

    clients = [{"name": n, "task": "digit", "snr_db": snr} for n, snr in (("a", -3.0), ("b", 7.0), ("c", 20.0))]
    mean = 10 * math.log10(sum(10 ** (snr / 10) for snr in (-3.0, 7.0, 20.0)) / 3)
    assert received({"clients": clients}, "each")["snr/received-db"] == pytest.approx(mean, abs=0.2)
    same = [{**client, "snr_db": 2.0} for client in clients]
    assert received({"clients": same}, "same") == received({"channel.snr_db": 2.0}, "all")


def test_an_snr_a_client_where_the_learner_has_one_for_all_is_refused() -> None:
    clients = [{"name": "a", "task": "odd", "snr_db": 3.0}]
    with pytest.raises(ScenarioError, match=r"clients.a.snr_db has no effect: learner 'cooperative' has no SNR a"):
        overrides.load(bases.BASES["cooperative"](), {"clients": clients})
