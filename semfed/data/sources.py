"""The data sets that come with the package, read through scikit-learn and torchvision."""

import importlib.util
from pathlib import Path
from typing import ClassVar

import numpy as np

from semfed.data.files import impatient
from semfed.data.imagefolder import read_folder
from semfed.data.source import Decoded, Split, required_root
from semfed.errors import DataError
from semfed.scenario.settings import StrictModel


class Digits:
    """scikit-learn's handwritten digits: 1,797 real images of 8 x 8 pixels, part of the installation.

    The split is fixed: every class's last 30 % in the stored order (539 images) is the test set.
    """

    Settings = StrictModel
    downloads = False
    needs_root = False

    def __init__(self, settings: StrictModel) -> None:
        self.settings = settings

    def files(self, root: Path | None) -> list[Path] | None:
        """Return scikit-learn's file: it loads in no time, but scikit-learn takes a second to import."""
        found = importlib.util.find_spec("sklearn")
        path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz" if found and found.origin else None
        return [path] if path is not None and path.is_file() else None

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        """Decode everything; neither a root nor a download is needed."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
        labels = bunch.target.astype(np.int64)
        held_out = np.zeros(len(labels), dtype=bool)
        for digit in range(10):
            rows = np.flatnonzero(labels == digit)
            held_out[rows[round(0.7 * len(rows)) :]] = True
        train, test = (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])
        return Decoded("digits (scikit-learn)", tuple(map(str, range(10))), train, test, (0.3059,), (0.3753,))


class _Torchvision:
    """A data set that torchvision reads from its own layout below the data root."""

    title: ClassVar[str]
    cls: ClassVar[str]
    layout: ClassVar[str]
    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]
    classes: ClassVar[tuple[str, ...]]

    Settings = StrictModel

    def __init__(self, settings: StrictModel) -> None:
        self.settings = settings

    def files(self, root: Path | None) -> list[Path]:
        folder = required_root(root, self.title) / self.layout
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        from torchvision import datasets

        folder = required_root(root, self.title)
        missing = (
            f"{self.title} is not in '{folder}': put its files into '{folder / self.layout}', "
            "or allow the download with --set data.download=true"
        )
        splits: list[Split] = []
        try:
            for train in (True, False):
                with impatient():
                    data = getattr(datasets, self.cls)(str(folder), train=train, download=download)
                pixels = np.asarray(data.data, dtype=np.uint8)
                pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
                splits.append((np.ascontiguousarray(pixels), np.asarray(data.targets, dtype=np.int64)))
        except RuntimeError as error:  # torchvision: "Dataset not found", or no mirror answered
            if not download and "not found" not in str(error):
                raise DataError(
                    f"{self.title} in '{folder / self.layout}' cannot be read ({error}): unpack it again"
                ) from error
            reason = f"the download failed ({error}); put its files into '{folder / self.layout}' by hand"
            raise DataError(f"{self.title}: {reason}" if download else missing) from error
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{self.title} in '{folder / self.layout}' cannot be read ({error}): unpack it again"
            ) from error
        return Decoded(self.title, self.classes, splits[0], splits[1], self.mean, self.std)


class MNIST(_Torchvision):
    """MNIST: 60,000 + 10,000 handwritten digits, 28 x 28, in ``<root>/MNIST/raw`` as torchvision lays them out."""

    title, cls, layout = "MNIST", "MNIST", "MNIST/raw"
    classes = tuple(map(str, range(10)))
    mean, std = (0.1307,), (0.3081,)


class FashionMNIST(_Torchvision):
    """Fashion-MNIST: 60,000 + 10,000 pieces of clothing, 28 x 28, in ``<root>/FashionMNIST/raw``."""

    title, cls, layout = "Fashion-MNIST", "FashionMNIST", "FashionMNIST/raw"
    classes = (
        "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
    )  # fmt: skip
    mean, std = (0.2860,), (0.3530,)


class CIFAR10(_Torchvision):
    """CIFAR-10: 50,000 + 10,000 colour images, 32 x 32.

    Reads ``<root>/cifar-10-batches-py`` (the original) or ``<root>/cifar10-jpeg/{train,test}/<class>/`` (a JPEG
    copy, which is lossy and is called so in every title).
    """

    title, cls, layout = "CIFAR-10", "CIFAR10", "cifar-10-batches-py"
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    jpeg = "cifar10-jpeg"

    def files(self, root: Path | None) -> list[Path]:
        """Return the files of the original where they exist, else of the JPEG copy."""
        folder = required_root(root, self.title)
        return super().files(root) or sorted((folder / self.jpeg).glob("*/*/*"))

    def read(self, root: Path | None, *, download: bool) -> Decoded:
        """Decode the original, or else the JPEG copy."""
        folder = required_root(root, self.title)
        if (folder / self.layout).is_dir() or not (folder / self.jpeg).is_dir():
            return super().read(root, download=download)
        (train, classes), (test, tested) = (
            read_folder(folder / self.jpeg / part, grayscale=False) for part in ("train", "test")
        )
        if classes != self.classes or tested != self.classes:
            raise DataError(f"'{folder / self.jpeg}' does not have CIFAR-10's ten classes: unpack it again")
        return Decoded("CIFAR-10 (JPEG)", self.classes, train, test, self.mean, self.std)
