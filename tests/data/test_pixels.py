"""Every mode of image: converted exactly, refused with a remedy, or reduced because the scenario says so."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from semfed.data.pixels import Reading, decode, look
from semfed.errors import DataError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
KEPT = Reading(grayscale=False)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def png16(path: Path, values: npt.NDArray[np.uint16]) -> Path:
    """Write a PNG of 16 bits by hand: Pillow writes grey ones only."""
    height, width, channels = values.shape

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


@given(pixels=arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))))
@settings(max_examples=50)
def test_what_has_eight_bits_stays_what_it_is(pixels: npt.NDArray[np.uint8], tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("images")
    colour = decode(saved(folder / "c.png", Image.fromarray(pixels)), KEPT)
    assert np.array_equal(colour, pixels.transpose(2, 0, 1))
    grey = pixels[..., 0]
    for name in ("g.png", "g.bmp", "g.tif"):
        path = saved(folder / name, Image.fromarray(grey))
        assert np.array_equal(decode(path, Reading(grayscale=True))[0], grey)
        assert np.array_equal(decode(path, KEPT), np.stack([grey] * 3))
        assert decode(path, Reading()).shape[0] == 1
    black = Image.fromarray(grey > 127)
    assert np.array_equal(decode(saved(folder / "b.png", black), KEPT)[1], np.where(grey > 127, 255, 0))
    palette = Image.fromarray(pixels).quantize(8)
    named = np.array(palette.getpalette(), dtype=np.uint8).reshape(-1, 3)[np.asarray(palette)]
    assert np.array_equal(decode(saved(folder / "p.png", palette), KEPT), named.transpose(2, 0, 1))


@given(values=arrays(np.uint16, st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3]))))
@settings(max_examples=50)
def test_sixteen_bits_are_refused_or_reduced_to_the_higher_eight(
    values: npt.NDArray[np.uint16], tmp_path_factory: Any
) -> None:
    path = png16(tmp_path_factory.mktemp("images") / "x.png", values)
    assert look(path)[0].bits == 16
    with pytest.raises(DataError, match=r"x.png' has 16 bits a value.*set data.source.depth to 'reduce'"):
        decode(path, KEPT)
    reduced = decode(path, Reading(grayscale=values.shape[2] == 1, depth="reduce"))
    assert np.array_equal(reduced, (values >> 8).transpose(2, 0, 1))


def test_sixteen_bits_of_a_tiff(tmp_path: Path) -> None:
    values = GREY.astype(np.uint16) * 257
    path = saved(tmp_path / "x.tif", Image.fromarray(values))
    with pytest.raises(DataError, match="16 bits"):
        decode(path, KEPT)
    assert np.array_equal(decode(path, Reading(depth="reduce"))[0], GREY)


def test_transparency_is_laid_on_a_background_or_refused(tmp_path: Path) -> None:
    alpha = np.full((3, 4), 255, dtype=np.uint8)
    for opaque in (np.dstack([COLOUR, alpha]), np.dstack([GREY, alpha])):
        path = saved(tmp_path / "opaque.png", Image.fromarray(opaque))
        expected = COLOUR.transpose(2, 0, 1) if opaque.shape[2] == 4 else np.stack([GREY] * 3)
        assert np.array_equal(decode(path, KEPT), expected), "alpha that is opaque can go"
    alpha[0, 1] = 0
    path = saved(tmp_path / "hole.png", Image.fromarray(np.dstack([COLOUR, alpha])))
    with pytest.raises(DataError, match=r"hole.png' has transparent pixels: set data.source.background"):
        decode(path, KEPT)
    for level in (0, 255):
        laid = decode(path, Reading(grayscale=False, background=level))
        assert (laid[:, 0, 1] == level).all()
        assert np.array_equal(laid[:, 1:], COLOUR.transpose(2, 0, 1)[:, 1:])
    half = Image.fromarray(np.dstack([np.full((1, 1), 200, np.uint8), np.full((1, 1), 51, np.uint8)]))
    (value,) = decode(saved(tmp_path / "half.png", half), Reading(background=100)).ravel()
    assert value == 120  # a fifth of 200 over four fifths of 100
    keyed = saved(tmp_path / "key.png", Image.fromarray(GREY), transparency=int(GREY[0, 1]))
    with pytest.raises(DataError, match="transparent pixels"):
        decode(keyed, KEPT)
    assert decode(keyed, Reading(background=255))[0, 0, 1] == 255


@pytest.mark.parametrize("mode", ["I", "F", "CMYK", "YCbCr", "LAB"])
def test_modes_without_an_exact_counterpart_are_refused(mode: str, tmp_path: Path) -> None:
    values = {"I": GREY.astype(np.int32) * 1000, "F": GREY.astype(np.float32)}
    image = Image.fromarray(values[mode]) if mode in values else Image.fromarray(COLOUR)
    if mode == "LAB":
        image = Image.new("LAB", (4, 3))
    elif mode not in values:
        image = image.convert(mode)
    path = saved(tmp_path / "x.tif", image)
    with pytest.raises(DataError, match=rf"x.tif' is of the mode '{mode}'.*save it as grey or RGB"):
        decode(path, Reading(depth="reduce", background=0))


@pytest.mark.parametrize("name", ["x.gif", "x.tif", "x.png", "x.webp"])
def test_several_images_in_a_file_are_refused(name: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(COLOUR, k, axis=k % 2)) for k in range(3)]
    path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="holds 3 images: save the one that is meant"):
        decode(path, KEPT)


def test_photographs_are_turned_as_they_say(tmp_path: Path) -> None:
    turns = {1: GREY, 3: GREY[::-1, ::-1], 6: np.rot90(GREY, -1), 8: np.rot90(GREY), 2: GREY[:, ::-1], 5: GREY.T}
    for orientation, expected in turns.items():
        image = Image.fromarray(GREY)
        exif = image.getexif()
        exif[0x0112] = orientation
        for name, options in (("x.png", {}), ("x.tif", {"compression": "tiff_deflate"})):
            path = saved(tmp_path / name, image, exif=exif, **options)
            assert np.array_equal(decode(path, Reading())[0], expected), orientation
            assert look(path)[1] == expected.shape[::-1]
        alpha = Image.fromarray(np.dstack([GREY, np.full_like(GREY, 255)]))
        path = saved(tmp_path / "a.png", alpha, exif=exif)
        assert np.array_equal(decode(path, Reading())[0], expected), "alpha goes, the orientation stays"


def test_a_turned_tiff_is_never_scrambled(tmp_path: Path) -> None:
    image = Image.fromarray(GREY)
    exif = image.getexif()
    exif[0x0112] = 6
    path = saved(tmp_path / "x.tif", image, exif=exif)
    try:
        found = decode(path, Reading())[0]
    except DataError as error:
        assert "save it upright" in str(error)  # noqa: PT017 - Pillow may learn to read it
    else:
        assert np.array_equal(found, np.rot90(GREY, -1))


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif", "x.gif", "x.bmp", "x.webp"])
def test_damaged_files_are_named(name: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    noise = Image.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    content = saved(tmp_path / name, noise).read_bytes()
    for damaged in (b"", b"no image", content[: len(content) // 2], content[:20]):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DataError, match=rf"image '.*{name}' cannot be decoded"):
            decode(tmp_path / name, KEPT)


@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=8), data=st.data())
@settings(max_examples=100)
def test_damage_ends_in_an_image_or_in_one_sentence(
    flips: list[tuple[int, int]], data: st.DataObject, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("images")
    path = folder / data.draw(st.sampled_from(["x.png", "x.tif", "x.gif", "x.bmp", "x.jpg"]))
    content = bytearray(saved(path, Image.fromarray(COLOUR)).read_bytes())
    for place, change in flips:
        content[place % len(content)] ^= change
    path.write_bytes(content)
    try:
        assert decode(path, Reading(size=4, grayscale=False)).shape == (3, 4, 4)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
