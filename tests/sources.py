"""Texts of modules beside a scenario, with a source of made-up images or a learner, and files with attributes."""

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

LEARNER = """
from torch.nn.functional import cross_entropy

from semfed.events.metrics import Metric
from semfed.flower.client.learner import Learner
from semfed.training.objective import Networks, correct


class Good(Learner):
    metrics = (Metric("accuracy", better="higher", fraction=True),)

    def networks(self, build):
        return Networks({"encoder": build.encoder()}, {"decoder": build.decoder(self.task.size)})

    def logits(self, nets, batch, send):
        return nets.decoder(send(nets.encoder(batch.images)))

    def loss(self, nets, batch, send):
        return cross_entropy(self.logits(nets, batch, send), batch.labels)

    def score(self, nets, batch, send):
        return {"accuracy": correct(self.logits(nets, batch, send), batch.labels)}
"""
"""A learner as one would write it, to derive others from that differ in one thing."""


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
