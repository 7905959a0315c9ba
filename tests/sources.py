"""Data of tests: texts of modules beside a scenario, with a source of made-up images, and files with attributes."""

from pathlib import Path
from textwrap import dedent, indent

import numpy as np
from sklearn.datasets import load_digits

SOURCE = """
import os

import numpy as np
from semfed.data.source import Decoded
from semfed.scenario.settings import StrictModel

class {name}:
    Settings = StrictModel
    downloads = False

    def __init__(self, settings):
        self.settings = settings

    def files(self, root):
        return None

    def read(self, root, *, download):
{body}
"""


def source(name: str, body: str) -> str:
    """Return a module with a source whose ``read`` has a body."""
    return SOURCE.format(name=name, body=indent(dedent(body).strip("\n"), " " * 8))


def write_attributed(folder: Path) -> str:
    """Write scikit-learn's digits as ``own.npz``, with satellites, writers and months; return the setting."""
    images, labels = load_digits(return_X_y=True)
    rows = np.arange(1000)
    np.savez(
        folder / "own.npz",
        train_images=images[:1000].reshape(-1, 8, 8).astype(np.uint8) * 15,
        train_labels=labels[:1000],
        test_images=images[1000:].reshape(-1, 8, 8).astype(np.uint8) * 15,
        test_labels=labels[1000:],
        train_attribute_satellite=np.array(["Terra", "Aqua", "Suomi"])[rows % 3],
        train_attribute_writer_id=rows % 7,
        train_attribute_month=rows % 12,
    )
    return 'data.source={ name = "npz", file = "own.npz" }'
