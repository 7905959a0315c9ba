"""JPEG within a budget: never more bits, the best quality that fits, and nothing that a receiver could not know."""

import numpy as np
import pytest
import torch

from semfed.algorithms.digital import jpeg


def pictures(count: int, channels: int = 3, side: int = 32) -> torch.Tensor:
    """Smooth images with some grain."""
    generator = torch.Generator().manual_seed(0)
    coarse = 255 * torch.rand(count, channels, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    grain = 10 * torch.randn(smooth.shape, generator=generator)
    return (smooth + grain).clamp(0, 255).to(torch.uint8)


IMAGES = pictures(6)


@pytest.mark.parametrize("header", ["known", "counted"])
@pytest.mark.parametrize("budget", [300.0, 1500.5, 6400.0, 12_000.0])
def test_the_budget_holds_and_nothing_better_does(header: jpeg.HeaderRule, budget: float) -> None:
    chosen = jpeg.best_quality(jpeg.sizes(IMAGES, header), torch.tensor(budget)).tolist()
    for image, quality in zip(IMAGES.numpy(), chosen, strict=True):
        costs = {q: jpeg.code_bits(jpeg.encode(image, q), header) for q in range(1, 101)}
        fitting = [q for q, cost in costs.items() if cost <= budget]
        assert quality == max(fitting, default=0)


def test_every_image_has_a_budget_of_its_own() -> None:
    measured = torch.tensor([[10, 20, 30], [10, 40, 30]])
    assert jpeg.best_quality(measured, torch.tensor([9.9, 35.0])).tolist() == [0, 3]
    assert jpeg.best_quality(measured, torch.tensor([float("inf"), 10.0])).tolist() == [3, 1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [1, 40, 100])
def test_a_header_follows_from_size_and_quality(channels: int, quality: int) -> None:
    """So a receiver that is told the quality, 7 bits, decodes the entropy-coded bytes, whatever comes after them."""
    one, other = pictures(2, channels).numpy()
    header, scan = jpeg.split(jpeg.encode(one, quality))
    assert header == jpeg.split(jpeg.encode(other, quality))[0]
    assert jpeg.join(header, scan) == jpeg.encode(one, quality)
    assert np.array_equal(jpeg.decode(jpeg.join(header, scan + b"\0\0")), jpeg.decode(jpeg.encode(one, quality)))
    assert jpeg.code_bits(jpeg.encode(one, quality)) == 8 * len(scan) + 7
    assert jpeg.code_bits(jpeg.encode(one, quality), "counted") == 8 * (len(header) + len(scan) + 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_arrives_and_what_does_not(channels: int) -> None:
    images = pictures(3, channels)
    lost = jpeg.colour((0.5,), channels)
    shown = jpeg.compressed(images, torch.tensor([0, 5, 95]), lost)
    assert shown.shape == images.shape
    assert shown[0].unique().tolist() == [128]
    worse, better = ((shown[k].float() - images[k].float()).square().mean() for k in (1, 2))
    assert float(better) < 0.5 * float(worse)


def test_the_colour_of_a_lost_image() -> None:
    assert jpeg.colour((0.2, 0.4, 1.0), 3).flatten().tolist() == [51, 102, 255]


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels, these have 2"):
        jpeg.sizes(torch.zeros(1, 2, 8, 8, dtype=torch.uint8))
