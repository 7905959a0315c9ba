import pytest
import torch
from torch import Tensor

from semfed.algorithms.alignment.baselines import as_they_are, deliver, eigen_features, largest, least_squares
from semfed.algorithms.alignment.transmission import Radio
from semfed.channels import ChannelState
from semfed.channels.mimo import MIMO, draw_response

WIDTH, PILOTS = 12, 400


def latents(seed: int, samples: int = PILOTS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.2, 3, WIDTH, dtype=torch.float64)[:, None]
    return torch.randn(WIDTH, samples, generator=generator, dtype=torch.float64) * scale + 1


def radio(uses: int, snr_db: float = float("inf")) -> Radio:
    channel = MIMO(MIMO.Settings(snr_db=snr_db, uses=uses, transmit_antennas=2, receive_antennas=2))
    return Radio(channel.fix(draw_response(2, 2, torch.Generator().manual_seed(1))))


def through(baseline: str, uses: int, map_: Tensor, snr_db: float = float("inf")) -> tuple[Tensor, Tensor]:
    own, sent, link = latents(2), latents(3, 50), radio(uses, snr_db)
    state = ChannelState(torch.Generator().manual_seed(4))
    found = deliver(
        baseline,  # type: ignore[arg-type]
        sent,
        own,
        map_ @ own + 5,
        radio=link,
        send=lambda symbols: link.send(symbols, state),
    )
    return found, map_ @ sent + 5


@pytest.fixture
def map_() -> Tensor:
    return torch.randn(9, WIDTH, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


@pytest.mark.parametrize("baseline", ["first-k", "top-k", "eigen-k"])
def test_everything_sent_without_noise_arrives(baseline: str, map_: Tensor) -> None:
    found, wanted = through(baseline, 3, map_)
    assert (found - wanted).abs().max() < 1e-6


@pytest.mark.parametrize("baseline", ["first-k", "top-k", "eigen-k"])
def test_noise_is_heard(baseline: str, map_: Tensor) -> None:
    found, wanted = through(baseline, 3, map_, snr_db=10)
    assert 0.01 < float((found - wanted).square().mean()) < float((wanted - 5).square().mean())


def test_first_k_completes_by_the_mean(map_: Tensor) -> None:
    found, _ = through("first-k", 1, map_)
    own, sent = latents(2), latents(3, 50)
    completed = own.mean(dim=1, keepdim=True).expand(-1, 50).clone()
    completed[:4] = sent[:4]
    assert (found - (map_ @ completed + 5)).abs().max() < 1e-6


def test_top_k_completes_by_zero(map_: Tensor) -> None:
    found, _ = through("top-k", 1, map_)
    sent = latents(3, 50)
    kept = sent * (sent.abs() >= sent.abs().topk(4, dim=0).values[-1])
    assert (found - (map_ @ kept + 5)).abs().max() < 1e-6
    assert torch.equal(largest(torch.tensor([[1.0], [-3.0], [2.0]]), 2), torch.tensor([[1], [2]]))


def test_eigen_k_is_exact_for_a_map_of_low_rank(map_: Tensor) -> None:
    left = torch.randn(9, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found, wanted = through("eigen-k", 1, left @ map_[:4])
    assert (found - wanted).abs().max() < 1e-6
    directions = eigen_features(least_squares(latents(2), left @ map_[:4] @ latents(2)), 4)
    assert torch.allclose(directions @ directions.T, torch.eye(4, dtype=torch.float64), atol=1e-10)


def test_least_squares_finds_map_and_intercept(map_: Tensor) -> None:
    found = least_squares(latents(2), map_ @ latents(2) - 7)
    assert (found.weight - map_).abs().max() < 1e-10
    assert (found.intercept + 7).abs().max() < 1e-9


@pytest.mark.parametrize("width", [5, 12, 14])
def test_unaligned_latents_are_cut_or_completed(width: int) -> None:
    taken, whole = as_they_are(latents(1), width), latents(1)
    assert taken.shape == (width, PILOTS)
    assert torch.equal(taken[:WIDTH], whole[:width])
    assert not taken[WIDTH:].any()
