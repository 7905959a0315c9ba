import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from semfed.algorithms import fidelity
from semfed.data.dataset import standardise, unit_range


def noisy_pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images, and the same with noise of another strength each."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(shape[0], shape[1], 4, 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse, shape[2:], mode="bilinear")
    strength = torch.linspace(0.02, 0.3, shape[0]).view(-1, 1, 1, 1)
    return (images + strength * torch.randn(shape, generator=generator)).clamp(0, 1), images


def test_mean_square_error_and_psnr_by_hand() -> None:
    sent = torch.tensor([[[[0.0, 1.0]]], [[[0.5, 0.5]]]])
    received = torch.tensor([[[[0.5, 1.0]]], [[[0.6, 0.4]]]])
    assert fidelity.mse(received, sent).tolist() == pytest.approx([0.125, 0.01], rel=1e-6)
    assert fidelity.psnr(received, sent).tolist() == pytest.approx([10 * math.log10(8), 20.0], abs=1e-5)
    assert fidelity.psnr(sent, sent).tolist() == [math.inf, math.inf]


def test_psnr_takes_the_peak_of_its_pixels() -> None:
    received, sent = noisy_pair(3, 1, 16, 16)
    as_bytes = fidelity.psnr(received * 255, sent * 255, peak=255)
    assert as_bytes.tolist() == pytest.approx(fidelity.psnr(received, sent).tolist(), abs=1e-6)


def reference_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """SSIM of one channel by scipy's filter, where the whole window lies within the image."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets**2) / 4.5)
    window /= window.sum()

    def filtered(image: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(image, window, axis=0), window, axis=1)[5:-5, 5:-5]

    mx, my = filtered(x), filtered(y)
    # moments about a value of the image instead of 0, which is the same in exact arithmetic
    cx, cy = x - x[0, 0], y - y[0, 0]
    vx, vy = filtered(cx**2) - filtered(cx) ** 2, filtered(cy**2) - filtered(cy) ** 2
    vxy = filtered(cx * cy) - filtered(cx) * filtered(cy)
    values = (2 * mx * my + 1e-4) * (2 * vxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    return float(values.mean())


@pytest.mark.parametrize("shape", [(4, 1, 11, 11), (3, 3, 32, 28)])
def test_ssim_agrees_with_a_filter_of_scipys(shape: tuple[int, ...]) -> None:
    received, sent = noisy_pair(*shape)
    expected = [
        np.mean([reference_ssim(x, y) for x, y in zip(one, other, strict=True)])
        for one, other in zip(received.double().numpy(), sent.double().numpy(), strict=True)
    ]
    assert fidelity.ssim(received, sent).tolist() == pytest.approx(expected, abs=1e-9)
    assert max(expected) - min(expected) > 0.1  # noise of several strengths is told apart


@pytest.mark.parametrize("shape", [(4, 1, 28, 28), (3, 3, 32, 32)])
def test_ssim_agrees_with_scikit_image(shape: tuple[int, ...]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    received, sent = noisy_pair(*shape)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = [
        metrics.structural_similarity(x, y, channel_axis=0, **settings)
        for x, y in zip(received.double().numpy(), sent.double().numpy(), strict=True)
    ]
    assert fidelity.ssim(received, sent).tolist() == pytest.approx(expected, abs=1e-7)


def test_ssim_of_constants_has_a_closed_form() -> None:
    dark, light = torch.full((1, 1, 12, 12), 0.25), torch.full((1, 1, 12, 12), 0.5)
    assert float(fidelity.ssim(dark, light)) == pytest.approx((0.25 + 1e-4) / (0.3125 + 1e-4), abs=1e-9)
    assert float(fidelity.ssim(dark, dark)) == pytest.approx(1)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        fidelity.mse(torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"images have 8 x 8: take larger"):
        fidelity.ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))


def test_standardised_images_come_back() -> None:
    pixels = torch.arange(0, 240, dtype=torch.uint8).reshape(2, 3, 5, 8)
    mean, std = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
    restored = unit_range(standardise(pixels, mean, std), mean, std)
    assert torch.allclose(restored, pixels / 255, atol=1e-6)
