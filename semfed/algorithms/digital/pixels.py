"""Pixels within a budget of bits, where there are too few for any JPEG: fewer pixels, in fewer levels each.

An image is averaged down to a coarser one whose values are rounded to evenly spaced levels, black and white among
them; the receiver enlarges it bilinearly. Size and bits are one choice for all images, known on both sides.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

DEPTH = 8


def shapes(shape: tuple[int, int, int], budget: float) -> list[tuple[int, int]]:
    """Return all pairs of a side and a number of bits a value that a budget allows, of which none is needless.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width; the side is that of the shorter edge.
    budget : float
        Bits an image.

    Returns
    -------
    list of (int, int)
        By side, the most bits that fit; empty if the budget is less than a bit a channel.
    """
    channels, height, width = shape
    found = []
    for side in range(1, min(height, width) + 1):
        rows, columns = _scaled(height, width, side)
        depth = min(DEPTH, int(min(budget, 1e12) // (channels * rows * columns)))
        if depth >= 1:
            found.append((side, depth))
    return found


def coarse(images: Tensor, side: int, depth: int) -> Tensor:
    """Return what a receiver shows of images.

    Parameters
    ----------
    images : Tensor, shape (images, channels, height, width), uint8
    side : int
        Pixels of the shorter edge that are sent.
    depth : int
        Bits a value, from 1 to 8.

    Returns
    -------
    Tensor, shape (images, channels, height, width), uint8
    """
    height, width = images.shape[-2:]
    small = interpolate(images.float(), size=_scaled(height, width, side), mode="area")
    step = 255 / (2**depth - 1)
    shown = interpolate((small / step).round() * step, size=(height, width), mode="bilinear", align_corners=False)
    return shown.round().clamp(0, 255).to(torch.uint8)


def best_shape(images: Tensor, budget: float) -> tuple[int, int] | None:
    """Return the side and depth of least mean square error over images that both sides know; None if nothing fits.

    Parameters
    ----------
    images : Tensor, shape (images, channels, height, width), uint8
        Training images, not those that are sent.
    budget : float
        Bits an image.
    """
    _, channels, height, width = images.shape
    pairs = shapes((channels, height, width), budget)
    errors = [float((coarse(images, *pair).float() - images.float()).square().mean()) for pair in pairs]
    return pairs[errors.index(min(errors))] if pairs else None


def _scaled(height: int, width: int, side: int) -> tuple[int, int]:
    """Return rows and columns of an image whose shorter edge has so many pixels."""
    shorter = min(height, width)
    return max(1, round(height * side / shorter)), max(1, round(width * side / shorter))
