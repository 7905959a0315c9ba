"""JPEG within a budget of bits: the highest quality whose code fits.

A JPEG file begins with a header of 300 to 600 bytes (quantisation and Huffman tables, the size), which is longer than
the code of a small image. With standard Huffman tables it follows from the image's size and the quality, so a receiver
that knows the size needs the quality alone: `HeaderRule` ``known`` counts the entropy-coded bytes and `QUALITY_BITS`,
``counted`` the whole file. Colour is subsampled by two in both directions (4:2:0), as usual.
"""

import io
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

HeaderRule = Literal["known", "counted"]
QUALITIES = 100
"""From 1 to this; libjpeg's scale."""
QUALITY_BITS = 7
"""What it takes to tell one of 100 qualities."""
_SCAN, _END = b"\xff\xda", b"\xff\xd9"


def encode(image: npt.NDArray[np.uint8], quality: int) -> bytes:
    """Compress an image of shape (channels, height, width) with one channel or three; quality from 1 to 100."""
    file = io.BytesIO()
    _picture(image).save(file, format="JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


def decode(file: bytes) -> npt.NDArray[np.uint8]:
    """Decompress an image, shape (channels, height, width)."""
    pixels = np.asarray(Image.open(io.BytesIO(file)))
    return np.array(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), order="C")


def split(file: bytes) -> tuple[bytes, bytes]:
    """Return a file's header, the start of the scan included, and its entropy-coded bytes; the end mark is left out."""
    start = file.index(_SCAN)
    start += 2 + int.from_bytes(file[start + 2 : start + 4])
    return file[:start], file[start:].removesuffix(_END)


def join(header: bytes, scan: bytes) -> bytes:
    """Return the file of a header and a scan."""
    return header + scan + _END


def code_bits(file: bytes, header: HeaderRule = "known") -> int:
    """Return how many bits of a file have to be sent."""
    return 8 * len(file) if header == "counted" else 8 * len(split(file)[1]) + QUALITY_BITS


def sizes(images: Tensor, header: HeaderRule = "known") -> Tensor:
    """Measure every image at every quality.

    Parameters
    ----------
    images : Tensor, shape (images, channels, height, width), uint8
        With one channel or three.
    header : {"known", "counted"}

    Returns
    -------
    Tensor, shape (images, 100), int32
        Bits that are sent, from quality 1 on.

    Raises
    ------
    ValueError
        If images have another number of channels.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f"JPEG is for images of 1 or 3 channels, these have {images.shape[1]}")
    found = np.empty((len(images), QUALITIES), dtype=np.int32)
    for row, image in zip(found, images.cpu().numpy(), strict=True):
        row[:] = [code_bits(encode(image, quality), header) for quality in range(1, QUALITIES + 1)]
    return torch.from_numpy(found)


def best_quality(measured: Tensor, budget: Tensor) -> Tensor:
    """Return the highest quality that fits, 0 where none does.

    Parameters
    ----------
    measured : Tensor, shape (images, 100), int
        From `sizes`.
    budget : Tensor, shape (images,) or (), float
        Bits that may be sent.

    Returns
    -------
    Tensor, shape (images,), int64
    """
    fits = measured <= budget.reshape(-1, 1)
    ranks = torch.arange(1, measured.shape[1] + 1, device=measured.device)
    return (fits * ranks).amax(1)


def compressed(images: Tensor, qualities: Tensor, lost: Tensor) -> Tensor:
    """Return what a receiver shows of images.

    Parameters
    ----------
    images : Tensor, shape (images, channels, height, width), uint8
    qualities : Tensor, shape (images,), int64
        0 for an image that does not arrive.
    lost : Tensor, shape (channels, 1, 1), uint8
        The colour that it shows instead.

    Returns
    -------
    Tensor, shape (images, channels, height, width), uint8
    """
    shown = lost.cpu().expand(images.shape[1:]).repeat(len(images), 1, 1, 1)
    for row, (image, quality) in enumerate(zip(images.cpu().numpy(), qualities.tolist(), strict=True)):
        if quality:
            shown[row] = torch.from_numpy(decode(encode(image, quality)))
    return shown.to(images.device)


def colour(mean: tuple[float, ...], channels: int) -> Tensor:
    """Return the mean colour of a data set, which a receiver shows for an image that does not arrive.

    Parameters
    ----------
    mean : tuple of float
        Of pixels from 0 to 1, one a channel or one for all.
    channels : int

    Returns
    -------
    Tensor, shape (channels, 1, 1), uint8
    """
    return (torch.tensor(mean).expand(channels) * 255).round().to(torch.uint8).view(-1, 1, 1)


def _picture(image: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
