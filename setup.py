"""What pyproject.toml cannot say: the package page, and where the project is.

A package page has neither the pictures nor the pages to which the README links by relative paths. Who publishes the
package says in SEMFED_ADDRESS where its repository is, such as https://example.org/semfed: then they are there, and so
are the project's links. Without, such links become their text, and a picture goes with its caption.
"""

import os
import re
from pathlib import Path

from setuptools import setup

PICTURE = re.compile(r"^!\[([^\]]*)\]\((?!https?:)([^)]+)\)\n\n(\*[^\n].*?\*\n\n)?", re.M | re.S)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)([^)]+)\)")
NOTE = "Links to pages and pictures of the repository are left out here; its `make docs` builds the documentation.\n"


def page(readme: str, address: str) -> str:
    """Return the text of the package page."""
    if not address:
        return LINK.sub(r"\1", PICTURE.sub("", readme)) + "\n" + NOTE
    readme = PICTURE.sub(rf"![\1]({address}/raw/main/\2)\n\n\3", readme)
    return LINK.sub(rf"[\1]({address}/blob/main/\2)", readme)


def urls(address: str) -> dict[str, str]:
    """Return the project's links, none without an address."""
    pages = {"Source": "", "Documentation": "/blob/main/docs/index.md", "Changelog": "/blob/main/CHANGELOG.md"}
    return {name: address + path for name, path in pages.items()} if address else {}


ADDRESS = os.environ.get("SEMFED_ADDRESS", "").rstrip("/")
setup(
    long_description=page(Path(__file__).with_name("README.md").read_text(encoding="utf-8"), ADDRESS),
    long_description_content_type="text/markdown",
    project_urls=urls(ADDRESS),
)
