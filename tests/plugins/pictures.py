"""Data sets as others write them: classes of torch alone, which know nothing of this package."""

import random
import urllib.request
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset


class Stripes(Dataset):
    """Bright rows or columns on noise from Python's global generator; it reads no file."""

    classes = ("rows", "columns")

    def __init__(self, train: bool = True, shade: int = 200, count: int = 40) -> None:
        self.train, self.shade, self.count = train, shade, count if train else count // 2
        self.noise = [random.randrange(30) for _ in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.full((1, 8, 8), self.noise[index], dtype=torch.uint8)
        line = index // 2 % 8
        if index % 2:
            image[0, :, line] = self.shade
        else:
            image[0, line] = self.shade
        return image, index % 2


class Fetched(Dataset):
    """Arrays of a part, in a folder of their own below a root; they can be fetched from an address."""

    def __init__(self, root: str, url: str = "", split: str = "train", download: bool = False) -> None:
        folder = Path(root) / "fetched"
        if split not in ("train", "val", "test"):
            raise ValueError(f"Unknown value '{split}' for argument split.")
        if download and not (folder / f"{split}.npy").exists():
            folder.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(f"{url}/{split}.npy") as answer:
                (folder / f"{split}.npy").write_bytes(answer.read())
        if not (folder / f"{split}.npy").exists():
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        self.images = np.load(folder / f"{split}.npy")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        return self.images[index], np.int64(index % 3)


class Given(Dataset):
    """One pair for all samples, or several, and names of classes, of a kind that is asked for."""

    def __init__(self, kind: str, train: bool = True) -> None:
        grey, colour = Image.new("L", (6, 4), 90), Image.new("RGB", (6, 4), (10, 200, 90))
        self.pairs = {
            "mixed": [(grey, 0), (colour, 1)],
            "sizes": [(colour, 0), (colour.resize((3, 5)), 1)],
            "floats": [(torch.rand(1, 4, 4), 0)],
            "boxes": [(grey, {"boxes": []})],
            "unlabelled": [(grey, -1)],
            "several": [(grey, torch.zeros(40))],
            "wide": [(torch.zeros(5, 4, 4, dtype=torch.uint8), 0)],
            "deep": [(Image.fromarray(np.full((4, 6), 3 * 256 + 7, dtype=np.uint16)), 0)],
            "clear": [(Image.new("RGBA", (6, 4), (0, 0, 0, 0)), 0)],
            "empty": [],
            "alone": [grey],
            "fetching": [(grey, 0)],
            "numbers": [(grey, k) for k in range(3)],
            "unnamed": [(grey, 0), (grey, 1)],
            "synonyms": [(grey, 0), (grey, 1)],
            "parts": [(grey, 0), (grey, 1)],
        }[kind]
        self.kind = kind
        names = {"numbers": ["a", "b"], "unnamed": None, "synonyms": [("x", "ex"), ("x",)], "parts": ["a", f"{train}"]}
        self.classes = names.get(kind, ["a", "b"])

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[object, object]:
        if self.kind == "fetching":
            urllib.request.urlopen("http://127.0.0.1:9/images")
        return self.pairs[index]


class Endless(IterableDataset):
    """A stream without an end."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        return repeat((torch.zeros(1, 4, 4, dtype=torch.uint8), 0))


def either(train: bool = True) -> Dataset:
    return Stripes(train)
