"""Bourtsoulatze, Kurka and Gündüz, 2019: layers, widths and bandwidth ratios."""

import pytest
import torch
from torch import nn

from semfed import models
from semfed.channels.awgn import AWGN
from semfed.errors import ScenarioError
from semfed.scenario.plugins import parse

STREAM = (0, "test", 0)


def encoder(image: tuple[int, ...], outputs: int | None, **settings: object) -> nn.Module:
    return models.build(
        parse("models", {"name": "deepjscc-encoder", **settings}), image, outputs=outputs, stream=STREAM
    )


def decoder(numbers: int, outputs: int, **settings: object) -> nn.Module:
    choice = parse("models", {"name": "deepjscc-decoder", **settings})
    return models.build(choice, (numbers,), outputs=outputs, stream=STREAM)


@pytest.mark.parametrize(("uses", "maps", "ratio"), [(512, 16, 1 / 6), (256, 8, 1 / 12)])
def test_channel_uses_are_the_papers_bandwidth_ratio(uses: int, maps: int, ratio: float) -> None:
    channel = AWGN(AWGN.Settings(uses=uses, symbols="complex"))
    images = torch.rand(2, 3, 32, 32)
    network = encoder((3, 32, 32), channel.settings.width)
    sent = network(images)
    assert [layer.out_channels for layer in network if isinstance(layer, nn.Conv2d)] == [16, 32, 32, 32, maps]
    assert sent.shape == (2, maps * 8 * 8)
    assert channel.count_uses(sent[:1]) / images[0].numel() == pytest.approx(ratio)


def test_layers_have_the_weights_that_the_paper_counts() -> None:
    """Kernels of 5 x 5 with a bias each, and a slope for every PReLU."""
    kernels = 25 * (3 * 16 + 16 * 32 + 2 * 32 * 32 + 32 * 8)
    slopes = 5
    down = encoder((3, 32, 32), 512)
    assert sum(p.numel() for p in down.parameters()) == kernels + (16 + 3 * 32 + 8) + slopes
    up = decoder(512, 3072)
    assert sum(p.numel() for p in up.parameters()) == kernels + (3 * 32 + 16 + 3) + slopes - 1  # the last is a sigmoid


@pytest.mark.parametrize("image", [(3, 32, 32), (1, 28, 28), (1, 8, 8)])
def test_images_come_back_in_their_shape_with_pixels_from_0_to_1(image: tuple[int, int, int]) -> None:
    pixels = image[0] * image[1] * image[2]
    numbers = 2 * image[1] * image[2] // 16
    received = 100 * torch.randn(4, numbers, generator=torch.Generator().manual_seed(0))
    back = decoder(numbers, pixels)(received)
    assert back.shape == (4, pixels)
    assert 0 <= float(back.min()) < float(back.max()) <= 1


def test_what_lies_together_in_feature_maps_lies_together_in_the_image() -> None:
    """A number in a corner reaches rows 0 to 6 of 8 through three convolutions, then 2 i + 2 twice: rows 0 to 30."""
    network = decoder(512, 3072)
    received = torch.randn(1, 512, generator=torch.Generator().manual_seed(0))
    changed = received.clone()
    changed[0, 0] += 10
    with torch.no_grad():
        difference = (network(changed) - network(received)).view(3, 32, 32)
    assert float(difference[:, 31].abs().max()) == 0
    assert float(difference[:, :, 31].abs().max()) == 0
    assert float(difference[:, :30, :30].abs().max()) > 0


def test_an_image_that_is_not_square_has_to_be_named() -> None:
    with pytest.raises(ScenarioError, match=r"3200 numbers are wanted, which is no square image"):
        decoder(512, 3200)
    assert decoder(400, 3 * 20 * 40, image=[3, 20, 40])(torch.zeros(1, 400)).shape == (1, 2400)
    with pytest.raises(ScenarioError, match=r"3072 numbers are wanted, which is no image of shape \[3, 20, 40\]"):
        decoder(400, 3072, image=[3, 20, 40])


@pytest.mark.parametrize(
    ("image", "numbers", "message"),
    [
        ((3, 32, 30), 64, r"multiples of 4, not of shape \(3, 32, 30\)"),
        ((64,), 64, r"multiples of 4, not of shape \(64,\)"),
        ((3, 32, 32), 100, "which 100 numbers to send are not: set channel.uses so that it carries a multiple of 64"),
        ((3, 32, 32), None, "no decided number of numbers to send"),
    ],
)
def test_what_makes_no_feature_maps_is_refused(image: tuple[int, ...], numbers: int | None, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        encoder(image, numbers)
