import pytest
import torch

from semfed.algorithms.alignment.transmission import Radio
from semfed.channels import ChannelState
from semfed.channels.mimo import MIMO, block_diagonal, draw_response
from semfed.errors import ScenarioError
from semfed.scenario import plugins


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(**table: object) -> MIMO:
    choice = plugins.parse("channels", {"name": "mimo", **table})
    channel: MIMO = choice.make()
    return channel


def test_entries_have_unit_variance_and_follow_the_generator() -> None:
    response = draw_response(300, 400, generator())
    assert float(response.abs().square().mean()) == pytest.approx(1, rel=0.02)
    assert float(response.real.square().mean()) == pytest.approx(0.5, rel=0.02)
    assert torch.equal(draw_response(2, 3, generator(4)), draw_response(2, 3, generator(4)))
    assert not torch.equal(draw_response(2, 3, generator(4)), draw_response(2, 3, generator(5)))


def test_uses_of_a_static_channel_are_block_diagonal() -> None:
    response = draw_response(3, 2, generator())
    blocks = block_diagonal(response, 2)
    assert blocks.shape == (6, 4)
    assert torch.equal(blocks[:3, :2], response)
    assert torch.equal(blocks[3:, 2:], response)
    assert not blocks[:3, 2:].any()


def test_numbers_on_the_wire_go_through_the_matrix() -> None:
    channel = make(uses=2, transmit_antennas=2, receive_antennas=3, snr_db=float("inf"))
    response = draw_response(3, 2, generator())
    x = torch.randn(5, 8, generator=generator(1), dtype=torch.float64)
    state = ChannelState(generator(2))
    y = channel.fix(response)(x, state)
    symbols = torch.view_as_complex(x.reshape(5, 4, 2))
    expected = (block_diagonal(response, 2) @ symbols.T).T
    assert (torch.view_as_complex(y.reshape(5, 6, 2)) - expected).abs().max() < 1e-12
    assert state.uses == 10
    with pytest.raises(ValueError, match="6 real numbers do not fill uses of 4"):
        channel(x[:, :6], state)


@pytest.mark.parametrize("snr_db", [-5.0, 10.0, 20.0])
def test_noise_power_is_that_of_the_specification(snr_db: float) -> None:
    channel = make(uses=3, transmit_antennas=2, receive_antennas=4, snr_db=snr_db)
    radio = Radio(channel.fix(draw_response(4, 2, generator())))
    received = radio.send(torch.zeros(6, 20_000, dtype=torch.complex128), ChannelState(generator(1)))
    expected = 1 / (2 * 3 * 10 ** (snr_db / 10))
    assert radio.noise == pytest.approx(expected)
    assert float(received.abs().square().mean()) == pytest.approx(expected, rel=0.02)


def test_without_a_given_matrix_every_call_draws_one() -> None:
    channel = make(snr_db=float("inf"), transmit_antennas=1, receive_antennas=1)
    x, state = torch.ones(2, 2, requires_grad=True), ChannelState(generator())
    first, second = channel(x, state), channel(x, state)
    assert not torch.equal(first, second)
    assert torch.equal(first, channel(x, ChannelState(generator())))
    assert torch.isfinite(torch.autograd.grad(first.sum(), x)[0]).all()
    with pytest.raises(ValueError, match="fix"):
        Radio(channel)


def test_only_complex_symbols() -> None:
    with pytest.raises((ScenarioError, ValueError), match="symbols"):
        make(symbols="real")
