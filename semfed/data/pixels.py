"""From an image file to pixels of eight bits: what can be done exactly is done, anything else has to be asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from semfed.errors import DataError

Pixels = npt.NDArray[np.uint8]
Depth = Literal["exact", "reduce"]
GREY, COLOUR = ("1", "L", "LA", "I;16", "I;16L", "I;16B"), ("P", "PA", "RGB", "RGBA")
WITH_ALPHA = ("LA", "PA", "RGBA")


@dataclass(frozen=True)
class Reading:
    """What to do with images.

    Attributes
    ----------
    size : int or None
        Pixels a side after resizing; None leaves images as they are.
    grayscale : bool or None
        One channel, of colours their luma, or three; None leaves grey images one and the others three.
    depth : {"exact", "reduce"}
        Refuse images of 16 bits a channel, or keep the higher byte of every value.
    background : int or None
        Grey level from 0 to 255 onto which transparent pixels are laid; None refuses them.
    """

    size: int | None = None
    grayscale: bool | None = None
    depth: Depth = "exact"
    background: int | None = None


@dataclass(frozen=True)
class Kind:
    """What a file says of its image.

    Attributes
    ----------
    mode : str
        Pillow's name, such as ``L`` or ``RGB``.
    bits : int
        Of one value.
    """

    mode: str
    bits: int

    @property
    def grey(self) -> bool:
        """Whether there is no colour in it."""
        return self.mode in GREY

    def __str__(self) -> str:
        return f"{self.mode}, {self.bits} bits" if self.bits > 8 else self.mode


def look(path: Path) -> tuple[Kind, tuple[int, int]]:
    """Return what an image file says of its image, and its width and height as people see it, without decoding it.

    Raises
    ------
    DataError
        If it is none, holds several images, or one of a kind that cannot become eight bits a channel.
    """
    try:
        with Image.open(path) as image:
            kind, size = _kind(image, path), image.size
            turned = image.getexif().get(0x0112, 1) >= 5  # orientations in which width and height change places
            return kind, size[::-1] if turned and image.format != "TIFF" else size  # of a TIFF, Pillow has done it
    except DataError:
        raise
    except Exception as error:  # decoders raise what they like: OSError, SyntaxError, struct.error, ...
        raise _damaged(path, error) from error


def decode(path: Path, reading: Reading) -> Pixels:
    """Decode an image file.

    Black and white, grey, palettes and colours become each other exactly where nothing is lost, and the image is turned
    as its EXIF orientation says.

    Returns
    -------
    ndarray, shape (channels, height, width), uint8
        One channel or three.

    Raises
    ------
    DataError
        As `look`; if it is damaged; if it has more than eight bits or transparent pixels and `reading` does not say
        what becomes of them.
    """
    try:
        with Image.open(path) as image:
            kind = _kept(image, reading, path)
            announced = image.size
            image.load()
            if image.size != announced:  # Pillow turns TIFFs itself, uncompressed ones after it has mixed up their rows
                raise DataError(f"'{path}' is turned in a way that Pillow does not read: save it upright")
            return _flat(ImageOps.exif_transpose(image), kind, reading, path)
    except DataError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error


def of_image(image: Image.Image, reading: Reading, name: str) -> Pixels:
    """Return the pixels of an image that somebody else has opened: as `decode`, but it is not turned.

    Parameters
    ----------
    image : PIL.Image.Image
    reading : Reading
    name : str
        What to call it in messages.
    """
    try:
        return _flat(image, _kept(image, reading, name), reading, name)
    except DataError:
        raise
    except Exception as error:
        raise _damaged(name, error) from error


def _kept(image: Image.Image, reading: Reading, path: Path | str) -> Kind:
    """Return an image's kind, if nothing of its values is lost unless that is asked for."""
    kind = _kind(image, path)
    if kind.bits > 8 and reading.depth == "exact":
        raise DataError(
            f"'{path}' has {kind.bits} bits a value, of which 8 are kept: set data.source.depth to 'reduce'"
        )
    return kind


def _flat(image: Image.Image, kind: Kind, reading: Reading, path: Path | str) -> Pixels:
    """Return pixels as `reading` wants them."""
    grey = kind.grey if reading.grayscale is None else reading.grayscale
    flat = _opaque(_eight_bits(image), reading.background, path).convert("L" if grey else "RGB")
    if reading.size is not None:
        flat = flat.resize((reading.size, reading.size), Image.Resampling.BILINEAR)
    pixels = np.asarray(flat, dtype=np.uint8)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _damaged(path: Path | str, error: Exception) -> DataError:
    return DataError(f"image '{path}' cannot be decoded ({error}): replace or remove it")


def _kind(image: Image.Image, path: Path | str) -> Kind:
    bits = _bits(image)  # first: asking for frames may load the image, and then its file's layout is forgotten
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise DataError(f"'{path}' holds {frames} images: save the one that is meant as a file of its own")
    if image.mode not in (*GREY, *COLOUR) or (image.mode.startswith("I") and "transparency" in image.info):
        raise DataError(
            f"'{path}' is of the mode {image.mode!r}, which has no exact counterpart in 8 bits: save it as grey or RGB"
        )
    return Kind(image.mode, bits)


def _bits(image: Image.Image) -> int:
    """Return the bits of a value in the file: Pillow opens colours of 16 bits as if they had eight."""
    raw: list[Any] = [tile[3] for tile in getattr(image, "tile", ())]
    names = [part for args in raw for part in (args if isinstance(args, tuple) else (args,)) if isinstance(part, str)]
    return 16 if any(";16" in name for name in (image.mode, *names)) else 8


def _eight_bits(image: Image.Image) -> Image.Image:
    """Keep the higher byte of grey values of 16 bits; of colours Pillow has kept it already."""
    if not image.mode.startswith("I;16"):
        return image.convert("L") if image.mode == "1" else image
    return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))


def _opaque(image: Image.Image, background: int | None, path: Path | str) -> Image.Image:
    """Lay transparent pixels onto a background; alpha that is opaque everywhere can go."""
    if image.mode not in WITH_ALPHA and "transparency" not in image.info:
        return image
    with_alpha = image.convert("RGBA")
    if with_alpha.getchannel("A").getextrema() == (255, 255):
        return _as(with_alpha, image)
    if background is None:
        raise DataError(f"'{path}' has transparent pixels: set data.source.background to a grey level from 0 to 255")
    canvas = Image.new("RGBA", image.size, (background, background, background, 255))
    return _as(Image.alpha_composite(canvas, with_alpha), image)


def _as(opaque: Image.Image, like: Image.Image) -> Image.Image:
    """Drop alpha; what was grey is grey again."""
    return opaque.getchannel(0) if like.mode in GREY else opaque.convert("RGB")
