import pytest
import torch

from semfed.algorithms.alignment.pairing import (
    Options,
    as_symbols,
    make_receiver,
    make_sender,
    real_matrix,
    recover,
    user_statistics,
)
from semfed.algorithms.alignment.transmission import Radio
from semfed.algorithms.alignment.updates import equalizer
from semfed.algorithms.alignment.whitening import to_complex, to_real
from semfed.channels import ChannelState
from semfed.channels.mimo import MIMO, draw_response
from semfed.errors import DataError


def latents(width: int, seed: int, samples: int = 300) -> torch.Tensor:
    return torch.randn(width, samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + 1


def test_real_form_of_a_matrix_acts_alike() -> None:
    matrix, z = to_complex(latents(6, 1, 4)), latents(8, 2, 5)
    assert torch.allclose(real_matrix(matrix) @ z, to_real(matrix @ to_complex(z), 6))


def test_mismatched_pilots_are_refused() -> None:
    sender = make_sender(latents(6, 1), Options())
    with pytest.raises(DataError, match="user 'B' has latents of 299 pilots and the access point of 300"):
        make_receiver(sender, latents(6, 2, 299), Options(), owner="user 'B'")


@pytest.mark.parametrize("whitening", ["full", "scale"])
@pytest.mark.parametrize(("widely_linear", "width"), [(False, 8), (True, 8), (True, 7)])
def test_what_fits_the_channel_comes_back(whitening: str, widely_linear: bool, width: int) -> None:
    options = Options(whitening, widely_linear)  # type: ignore[arg-type]
    own = latents(8, 1)
    sender = make_sender(own, options)
    mixing = to_complex(latents(8, 5, 4))
    users = latents(width, 5, 8) @ own if widely_linear else to_real(mixing @ to_complex(own), width)
    receiver = make_receiver(sender, users, options, owner="user")
    channel = MIMO(MIMO.Settings(snr_db=float("inf"), uses=2, transmit_antennas=2, receive_antennas=3))
    radio = Radio(channel.fix(draw_response(3, 2, torch.Generator().manual_seed(3))))
    link = user_statistics(receiver, radio.response, radio.noise, options)
    precoder = torch.eye(link.response.shape[1], len(sender.white), dtype=sender.white.dtype)
    state = ChannelState(torch.Generator().manual_seed(0))
    received = radio.send(as_symbols(precoder @ sender.white, options), state)
    found = recover(received, equalizer(link, precoder), receiver, options)
    assert found.shape == users.shape
    assert (found - users).abs().max() < 1e-6
    assert state.uses == 2 * 300
