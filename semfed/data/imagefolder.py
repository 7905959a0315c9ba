"""A directory of class folders: how people bring their own (satellite) images."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from semfed.data.source import Decoded, Split, required_root
from semfed.errors import DataError
from semfed.settings import StrictModel

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})


def read_folder(
    folder: Path, *, size: int | None = None, grayscale: bool = False, classes: tuple[str, ...] | None = None
) -> tuple[Split, tuple[str, ...]]:
    """Decode ``folder/<class>/<image>``.

    Parameters
    ----------
    folder : Path
    size : int, optional
        Resize to this many pixels a side; by default all images must have one size.
    grayscale : bool, default False
        One channel instead of three.
    classes : tuple of str, optional
        Read these classes in this order; by default all folders, sorted by name.

    Returns
    -------
    split : images (n, channels, height, width) uint8 and labels (n,) int64, in the order of class and file name
    classes : tuple of str

    Raises
    ------
    DataError
        If a class has no image, or an image cannot be decoded or has another size.
    """
    names = classes or tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    if not names:
        raise DataError(f"'{folder}' has no class folders: put images into '{folder}/<class>/'")
    images, labels = [], []
    for label, name in enumerate(names):
        paths = sorted(path for path in (folder / name).glob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise DataError(f"class folder '{folder / name}' has no images ({', '.join(sorted(SUFFIXES))})")
        for path in paths:
            images.append(_decode(path, size, grayscale))
            labels.append(label)
            if images[-1].shape != images[0].shape:
                raise DataError(
                    f"'{path}' has {images[-1].shape[1:]} pixels where others have {images[0].shape[1:]}: "
                    "set data.source.size to bring all to one size"
                )
    return (np.stack(images), np.array(labels, dtype=np.int64)), names


def _decode(path: Path, size: int | None, grayscale: bool) -> np.ndarray:
    try:
        with Image.open(path) as file:
            image = file.convert("L" if grayscale else "RGB")
            if size is not None:
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            pixels = np.asarray(image, dtype=np.uint8)
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise DataError(f"image '{path}' cannot be decoded ({error}): replace or remove it") from error
    return pixels[None] if grayscale else pixels.transpose(2, 0, 1)


class ImageFolder:
    """Your own images in ``<root>/<folder>/<class>/`` or, already split, in ``<root>/<folder>/{train,test}/<class>/``.

    Unsplit folders are split once: of every class, every ``1 / test_fraction``-th image is a test image.
    """

    class Settings(StrictModel):
        """What to read and how."""

        folder: str = "."
        size: int = Field(default=32, ge=1, le=4096)
        """Pixels a side after resizing."""
        grayscale: bool = False
        test_fraction: float = Field(default=0.2, gt=0, lt=1)

    downloads = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def _folder(self, root: Path | None) -> Path:
        folder = required_root(root, "imagefolder") / self.settings.folder
        if not folder.is_dir():
            raise DataError(f"image folder '{folder}' does not exist: set data.source.folder or the data root")
        return folder

    def files(self, root: Path | None) -> list[Path]:
        """Return every image file below the folder."""
        return sorted(path for path in self._folder(root).rglob("*") if path.suffix.lower() in SUFFIXES)

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        """Decode everything; the mean and standard deviation are those of the training images."""
        folder, options = self._folder(root), self.settings
        if (folder / "train").is_dir() and (folder / "test").is_dir():
            if options.test_fraction != type(options)().test_fraction:
                raise DataError(
                    f"data.source.test_fraction = {options.test_fraction} has no effect: '{folder}' has a part 'test'; "
                    "leave it out"
                )
            train, classes = read_folder(folder / "train", size=options.size, grayscale=options.grayscale)
            test, _ = read_folder(folder / "test", size=options.size, grayscale=options.grayscale, classes=classes)
        else:
            (images, labels), classes = read_folder(folder, size=options.size, grayscale=options.grayscale)
            rank = np.concatenate([np.arange(count) for count in np.bincount(labels)])
            held_out = np.floor((rank + 1) * options.test_fraction) > np.floor(rank * options.test_fraction)
            train, test = (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])
            if len(np.unique(test[1])) < len(classes):
                raise DataError(f"'{folder}' has a class too small for test_fraction = {options.test_fraction}")
        scaled = train[0].astype(np.float64) / 255
        mean, std = scaled.mean(axis=(0, 2, 3)), scaled.std(axis=(0, 2, 3))
        return Decoded(
            folder.name or "images",
            classes,
            train,
            test,
            tuple(mean.tolist()),
            tuple(np.maximum(std, 1e-6).tolist()),
        )
