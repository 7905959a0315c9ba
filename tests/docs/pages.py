"""The fenced blocks of a page, in order, with what the page says of each.

A comment on the line above a block marks it, invisible to readers:

=============================  ======================================================================
``<!-- not run: REASON -->``   it is only parsed, since it needs a GPU, other machines, data or minutes
``<!-- long -->``              it is run by the long tests alone
``<!-- refused -->``           its commands end with an error
=============================  ======================================================================

A block with ``title="FILE"`` is a file of the page's own folder; blocks of one title make one file. Other Python of a
page is one program, and other TOML is a part of a scenario, or several to choose from, one a line.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = ("bash", "sh", "console")
LANGUAGES = (*SHELL, "python", "toml", "json", "text")
MARKS = ("not run", "long", "refused")
_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[a-z ]+)(?:: (?P<reason>[^\n]*?))? -->\n)?```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes
    ----------
    line : int
        Of the page, on which its text begins.
    language : str
    title : str
        The file that it is, or a part of; empty for none.
    mark, reason : str
        What the page says of it; empty for nothing.
    text : str
    """

    line: int
    language: str
    title: str
    mark: str
    reason: str
    text: str

    @property
    def commands(self) -> list[tuple[str, str]]:
        """What is typed, with what the page shows as its output; only ``console`` has prompts and output."""
        if self.language != "console":
            joined = self.text.replace("\\\n", " ")
            return [(line, "") for line in joined.splitlines() if line.strip() and not line.startswith("#")]
        typed = re.split(r"^\$ ", self.text, flags=re.M)[1:]
        return [(command, output) for command, _, output in (part.partition("\n") for part in typed)]

    @property
    def tables(self) -> list[dict[str, Any]]:
        """What TOML says, as a whole; where it says one thing several times, what every line says."""
        try:
            return [tomllib.loads(self.text)]
        except tomllib.TOMLDecodeError:
            return [tomllib.loads(line) for line in self.text.splitlines()]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page."""
    return (part for part in parts(page) if isinstance(part, Block))


def parts(page: Path) -> Iterator[str | Block]:
    """Yield a page part by part: its blocks, and the texts around them."""
    content, end = page.read_text(encoding="utf-8"), 0
    for found in _FENCE.finditer(content):
        yield content[end : found.start()]
        end = found.end()
        language, _, rest = found["info"].partition(" ")
        title = re.fullmatch(r'title="([^"]+)"', rest)
        yield Block(
            content.count("\n", 0, found.start("text")) + 1,
            language,
            title[1] if title else "",
            found["mark"] or "",
            found["reason"] or "",
            found["text"],
        )
    yield content[end:]
