"""What pyproject.toml cannot say: the package page is the README without what only the repository can show.

A package page has neither the pictures nor the pages that the README links to by relative paths, and the project has no
public address that could stand before them. So such links become their text, and a picture goes with its caption.
"""

import re
from pathlib import Path

from setuptools import setup

PICTURE = re.compile(r"^!\[[^\]]*\]\((?!https?:)[^)]+\)\n\n(\*[^\n].*?\*\n\n)?", re.M | re.S)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]+\)")
NOTE = "Links to pages and pictures of the repository are left out here; its `make docs` builds the documentation.\n"


def page(readme: str) -> str:
    """Return the text of the package page."""
    return LINK.sub(r"\1", PICTURE.sub("", readme)) + "\n" + NOTE


setup(
    long_description=page(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
