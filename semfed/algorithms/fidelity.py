"""How close an image that was received is to the one that was sent: mean square error, PSNR and SSIM.

Images are of shape (images, channels, height, width) with values of 0 to 1, not standardised; see
`semfed.data.dataset.unit_range`. Every function gives one float64 an image, so that means are over images: the PSNR
of a data set is the mean of its images' PSNR in dB, and not the PSNR of their mean square error, which is lower.
"""

from functools import lru_cache

import torch
from torch import Tensor

SSIM_WINDOW = 11
"""Pixels a side of the window within which structures are compared: smaller images have no SSIM."""
SSIM_SIGMA = 1.5
_LUMINANCE, _CONTRAST = 0.01**2, 0.03**2


def mse(images: Tensor, reference: Tensor) -> Tensor:
    """Mean square error over all channels and pixels.

    Parameters
    ----------
    images, reference : Tensor, shape (images, channels, height, width), float
        From 0 to 1.

    Returns
    -------
    Tensor, shape (images,), float64

    Raises
    ------
    ValueError
        If the shapes differ or are not of images.
    """
    _require_pairs(images, reference)
    return (images.double() - reference.double()).square().flatten(1).mean(1)


def psnr(images: Tensor, reference: Tensor, *, peak: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio in dB: 10 log10(peak ** 2 / MSE), infinite where there is no error.

    Parameters
    ----------
    images, reference : Tensor, shape (images, channels, height, width), float
    peak : float, default 1
        Largest value that a pixel can have, 1 for images from 0 to 1.

    Returns
    -------
    Tensor, shape (images,), float64

    Raises
    ------
    ValueError
        As of `mse`.

    Examples
    --------
    >>> psnr(torch.full((1, 3, 2, 2), 0.6), torch.full((1, 3, 2, 2), 0.5)).round(decimals=4)
    tensor([20.], dtype=torch.float64)
    """
    return 10 * torch.log10(peak**2 / mse(images, reference))


def ssim(images: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity, 1 for equal images.

    It is the mean over the channels and over all places where a Gaussian window of 11 x 11 pixels with sigma 1.5 lies
    within the image, with K1 = 0.01, K2 = 0.03 and the dynamic range 1. Source: "Image Quality Assessment: From Error
    Visibility to Structural Similarity" (Wang, Bovik, Sheikh, Simoncelli, IEEE Transactions on Image Processing,
    2004), eqs. (13) to (17), the mean over the channels apart: theirs is of grey images.

    Parameters
    ----------
    images, reference : Tensor, shape (images, channels, height, width), float
        From 0 to 1.

    Returns
    -------
    Tensor, shape (images,), float64

    Raises
    ------
    ValueError
        As of `mse`, or if the images are smaller than the window.
    """
    _require_pairs(images, reference)
    height, width = images.shape[-2:]
    if min(height, width) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM compares windows of {SSIM_WINDOW} x {SSIM_WINDOW} pixels, but images have {height} x {width}: take "
            "larger images, or leave SSIM out"
        )
    rows, columns = _sliding(height, images.device), _sliding(width, images.device).T

    def local_mean(values: Tensor) -> Tensor:
        return rows @ values @ columns

    x, y = images.double(), reference.double()
    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x * x) - mean_x**2 + local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _LUMINANCE) / (mean_x**2 + mean_y**2 + _LUMINANCE)
    structure = (2 * covariance + _CONTRAST) / (variances + _CONTRAST)
    return (luminance * structure).flatten(1).mean(1)


def _require_pairs(images: Tensor, reference: Tensor) -> None:
    if images.shape != reference.shape or images.ndim != 4:
        raise ValueError(
            f"images of shape {tuple(images.shape)} and {tuple(reference.shape)} cannot be compared: give two batches "
            "of one shape (images, channels, height, width)"
        )


@lru_cache(maxsize=16)
def _sliding(size: int, device: torch.device) -> Tensor:
    """Return the matrix that takes the means of a window along an axis, shape (size - 10, size)."""
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    weights /= weights.sum()
    matrix = torch.zeros(size - SSIM_WINDOW + 1, size, dtype=torch.float64)
    for place in range(len(matrix)):
        matrix[place, place : place + SSIM_WINDOW] = weights
    return matrix.to(device)
