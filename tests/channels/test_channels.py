from typing import Any

import pytest
import torch

from semfed.channels import Channel, ChannelState
from semfed.channels.awgn import AWGN
from semfed.channels.power import average_power, normalise
from semfed.scenario import plugins

SAMPLES = 20_000
KINDS = [
    {"name": "awgn"},
    {"name": "awgn", "symbols": "complex"},
    {"name": "rayleigh"},
    {"name": "rayleigh", "fading": "block"},
    {"name": "rayleigh", "symbols": "complex", "receiver": "phase"},
    {"name": "rayleigh", "symbols": "complex", "receiver": "mmse"},
]


def make(**table: Any) -> Channel:
    choice = plugins.parse("channels", table)
    channel: Channel = choice.make()
    return channel


def state(seed: int = 0) -> ChannelState:
    return ChannelState(torch.Generator().manual_seed(seed))


def signal(numbers: int = 16) -> torch.Tensor:
    return torch.randn(SAMPLES, numbers, generator=torch.Generator().manual_seed(9)) * 3 + 1


def test_gradients_pass_additive_channels_unchanged() -> None:
    x, slope = torch.randn(5, 6, requires_grad=True), torch.randn(5, 6)
    for table in (*KINDS, {"name": "awgn", "power": "none"}, {"name": "awgn", "power": "none", "symbols": "complex"}):
        channel = make(**table)
        passed_on = torch.autograd.grad(channel(x, state()), x, slope)[0]
        assert channel.additive == torch.equal(passed_on, slope)


def test_a_subclass_is_not_additive_unless_it_says_so() -> None:
    class Saturated(AWGN):
        def distort(self, x: torch.Tensor, state: ChannelState) -> torch.Tensor:
            return super().distort(x, state).clamp(-1, 1)

    assert not Saturated(Saturated.Settings(power="none")).additive


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 6.020599913279624, 20.0])
@pytest.mark.parametrize("symbols", ["real", "complex"])
def test_measured_snr_is_the_requested_one(snr_db: float, symbols: str) -> None:
    channel = make(name="awgn", snr_db=snr_db, symbols=symbols)
    x = signal()
    sent = normalise(x, "sample", power=1 / channel.settings.reals_per_symbol)
    noise = channel(x, state()) - sent
    measured = 10 * torch.log10(average_power(sent) / average_power(noise))
    assert measured.item() == pytest.approx(snr_db, abs=0.05)
    assert noise.mean().item() == pytest.approx(0, abs=4 * channel.settings.noise_std / (SAMPLES * 16) ** 0.5)


def test_sigma_one_half_is_six_decibels() -> None:
    channel = make(name="awgn", snr_db=6.020599913279624, power="none")
    assert channel.settings.noise_std == pytest.approx(0.5, abs=1e-15)
    x = signal()
    assert (channel(x, state()) - x).std().item() == pytest.approx(0.5, rel=0.01)


def test_noise_power_per_complex_symbol_is_n0() -> None:
    channel = make(name="awgn", snr_db=3.0, symbols="complex", power="none")
    noise = channel(torch.zeros(SAMPLES, 2), state())
    assert noise.square().sum(1).mean().item() == pytest.approx(10**-0.3, rel=0.02)


def test_no_noise_changes_nothing() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(make(name="awgn", snr_db=float("inf"), power="none")(x, state()), x)


@pytest.mark.parametrize(("rule", "power"), [("sample", 1.0), ("sample", 0.5), ("batch", 1.0)])
def test_power_is_set(rule: Any, power: float) -> None:
    sent = normalise(signal(), rule, power=power)
    assert average_power(sent).item() == pytest.approx(power, rel=1e-4)
    if rule == "sample":
        assert sent.square().mean(1).sub(power).abs().max().item() < 1e-4


def test_zeros_stay_zero() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    sent = normalise(x, "sample")
    assert torch.equal(sent, torch.zeros(2, 4))
    assert torch.isfinite(torch.autograd.grad(sent.sum(), x)[0]).all()


@pytest.mark.parametrize("fading", ["symbol", "block"])
def test_fading_has_unit_power(fading: str) -> None:
    channel = make(name="rayleigh", fading=fading, snr_db=float("inf"), power="none")
    gain = channel(torch.ones(SAMPLES, 4), state())
    assert gain.square().mean().item() == pytest.approx(1, rel=0.02)
    assert gain.mean().item() == pytest.approx((torch.pi / 4) ** 0.5, rel=0.02)
    same = (gain == gain[:, :1]).all().item()
    assert same is (fading == "block")


def test_complex_fading_turns_and_keeps_circular_symmetry() -> None:
    channel = make(name="rayleigh", symbols="complex", snr_db=float("inf"), power="none")
    sent = torch.tensor([[1.0, 0.0]]).expand(SAMPLES, 2)
    got = channel(sent, state())
    assert got.square().sum(1).mean().item() == pytest.approx(1, rel=0.02)
    assert got.mean(0).abs().max().item() < 0.02
    assert got.var(0).tolist() == pytest.approx([0.5, 0.5], rel=0.05)


def test_mmse_is_the_best_linear_receiver() -> None:
    """Its error is smaller than that of any other gain with the same phase, and equals the closed form per symbol."""
    x = normalise(signal(2), "sample", power=0.5)
    mmse = make(name="rayleigh", symbols="complex", receiver="mmse", snr_db=0.0, power="none")
    phase = make(name="rayleigh", symbols="complex", receiver="phase", snr_db=0.0, power="none")
    error = (mmse(x, state()) - x).square().sum(1).mean().item()
    other = (phase(x, state()) - x).square().sum(1).mean().item()
    gains = torch.distributions.Exponential(1.0).sample((200_000,))
    assert error == pytest.approx((1 / (1 + gains)).mean().item(), rel=0.02)
    assert error < other


def test_odd_numbers_are_no_complex_symbols() -> None:
    with pytest.raises(ValueError, match="use an even number"):
        make(name="awgn", symbols="complex")(torch.ones(1, 3), state())
