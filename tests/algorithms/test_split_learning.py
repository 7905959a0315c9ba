import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from semfed.algorithms import split_learning
from semfed.algorithms.contrastive import Centroids
from semfed.algorithms.split_learning import ServerHalf
from semfed.channels.awgn import AWGN
from semfed.channels.base import ChannelSettings
from semfed.channels.rayleigh import Rayleigh
from semfed.scenario import TrainingSettings
from semfed.training.optimizers import make_optimizer


def networks(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
        decoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    return encoder, decoder


def batch(seed: int = 0, size: int = 7) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(size, 6, generator=random), torch.randint(3, (size,), generator=random)


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_gradient_at_the_encoder_equals_autograd_of_the_joined_model(weight: float) -> None:
    encoder, decoder = networks()
    images, labels = batch()
    centroids = Centroids(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)), torch.ones(3))

    features = encoder(images)
    joined = cross_entropy(decoder(features), labels)
    joined = joined + weight * (features - centroids.values[labels]).square().mean()
    expected = torch.autograd.grad(joined, list(encoder.parameters()))
    own = torch.autograd.grad(cross_entropy(decoder(encoder(images)), labels), list(decoder.parameters()))
    before = [p.detach().clone() for p in decoder.parameters()]

    optimizer = make_optimizer(TrainingSettings(lr=0.1), list(decoder.parameters()))
    loss, gradient = ServerHalf(decoder, optimizer).step(encoder(images), labels, centroids, weight)
    received = torch.autograd.grad(encoder(images), list(encoder.parameters()), gradient)
    assert loss == pytest.approx(joined.item(), rel=1e-6)
    for a, b in zip(received, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    for new, old, g in zip(decoder.parameters(), before, own, strict=True):
        assert torch.allclose(new, old - 0.1 * g, atol=1e-6)


def test_average_is_the_mean_weighted_by_samples() -> None:
    decoders = [networks(seed)[1] for seed in range(3)]
    mean = split_learning.average(decoders, [100, 50, 250])
    for name, value in mean.items():
        parts = [decoder.state_dict()[name] for decoder in decoders]
        assert torch.allclose(value, 0.25 * parts[0] + 0.125 * parts[1] + 0.625 * parts[2], atol=1e-6)


def downlink(cls: type, snr_db: float, **settings: str) -> AWGN | Rayleigh:
    return cls(cls.Settings(snr_db=snr_db, symbols="complex", power="sample", **settings))


def test_downlink_without_a_channel_changes_nothing() -> None:
    gradient = torch.randn(5, 4)
    assert split_learning.send_gradient(gradient, None, torch.Generator()) is gradient


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_downlink_noise_has_the_stated_snr(snr_db: float) -> None:
    random = torch.Generator().manual_seed(0)
    gradient = 1e-4 * torch.nn.functional.normalize(torch.randn(20_000, 64, generator=random), dim=1)
    received = split_learning.send_gradient(gradient, downlink(AWGN, snr_db), random)
    ratio = (received - gradient).square().mean() / gradient.square().mean()
    assert ratio.item() == pytest.approx(10 ** (-snr_db / 10), rel=0.01)


def test_downlink_keeps_the_gradients_of_a_batch_in_proportion() -> None:
    gradient = torch.tensor([[1.0, 1.0], [2.0, -2.0]])
    received = split_learning.send_gradient(gradient, downlink(AWGN, float("inf")), torch.Generator())
    assert torch.allclose(received, gradient, atol=1e-6)


def test_equalised_fading_brings_a_gradient_back_and_raw_fading_turns_it() -> None:
    random = torch.Generator().manual_seed(0)
    gradient = torch.randn(500, 64, generator=random)
    errors = {
        receiver: (
            split_learning.send_gradient(
                gradient, downlink(Rayleigh, 30.0, fading="block", receiver=receiver), torch.Generator().manual_seed(1)
            )
            - gradient
        )
        .square()
        .mean()
        .item()
        for receiver in ("mmse", "raw")
    }
    assert errors["mmse"] < 0.05
    assert errors["raw"] > 1.0  # E|h - 1|^2 = 2


def test_zero_gradient_stays_zero() -> None:
    channel = AWGN(ChannelSettings(snr_db=0.0))
    assert not split_learning.send_gradient(torch.zeros(3, 4), channel, torch.Generator()).any()
