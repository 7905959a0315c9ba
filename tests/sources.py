"""Texts of modules that stand beside a scenario, each with a data source of images that are made up."""

from textwrap import dedent, indent

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
