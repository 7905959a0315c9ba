"""Fewer pixels in fewer levels: what they cost, and what a receiver shows."""

import torch

from semfed.algorithms.digital import pixels


def test_shapes_by_hand() -> None:
    """Of 110 bits an image of three channels gets 1 x 1 of 8 bits, 2 x 2 of 8, 3 x 3 of 4, 4 x 4 of 2, 6 x 6 of 1."""
    assert pixels.shapes((3, 32, 32), 110.7) == [(1, 8), (2, 8), (3, 4), (4, 2), (5, 1), (6, 1)]
    assert pixels.shapes((1, 8, 16), 2.0) == [(1, 1)]  # two pixels
    assert pixels.shapes((3, 32, 32), 2.9) == []
    assert all(3 * side**2 * depth <= 110.7 for side, depth in pixels.shapes((3, 32, 32), 110.7))


def test_all_pixels_with_all_bits_are_the_image() -> None:
    images = torch.randint(256, (2, 3, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pixels.coarse(images, 7, 8), images)


def test_one_bit_is_black_or_white_and_one_pixel_is_the_mean() -> None:
    image = torch.tensor([[[[0, 100], [200, 255]]]], dtype=torch.uint8)
    assert pixels.coarse(image, 2, 1).flatten().tolist() == [0, 0, 255, 255]
    assert pixels.coarse(image, 1, 8).flatten().tolist() == [139] * 4  # 138.75


def test_the_shape_of_least_error_is_chosen() -> None:
    """A ramp of four levels across is worth more pixels than bits; plain images are worth bits."""
    ramp = torch.tensor([0, 255, 0, 255], dtype=torch.uint8).expand(1, 1, 4, 4)
    assert pixels.best_shape(ramp, 16) == (4, 1)
    plain = torch.full((1, 1, 4, 4), 100, dtype=torch.uint8)
    side, depth = pixels.best_shape(plain, 16) or (0, 0)
    assert depth == 8
    assert side == 1
    assert pixels.best_shape(plain, 0.5) is None
