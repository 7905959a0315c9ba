"""What docs/house.md and the explanations name is there, and the house's floors are those that are checked."""

import importlib
import re
from pathlib import Path

import pytest

from tests.test_architecture import FLOORS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "house.md").read_text()
EXPLAINED = "".join(page.read_text() for page in (ROOT / "docs" / "explanation").rglob("*.md"))
NAMES = sorted(set(re.findall(r"`(semfed(?:\.\w+)+)`", PAGE + EXPLAINED)))
FILES = sorted(set(re.findall(r"`((?:semfed|clients|strategies|tests)/[\w/]+(?:\.py|/))`", EXPLAINED)))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_walk_is_one_of_the_code(name: str) -> None:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            found = getattr(found, attribute)
        return
    pytest.fail(name)


@pytest.mark.parametrize("file", FILES)
def test_every_file_of_the_explanations_is_there(file: str) -> None:
    assert (ROOT / file).exists()


def test_the_table_has_the_floors_of_the_house() -> None:
    rows = dict(re.findall(r"^\| (\d) \| (.*?) \|", PAGE, re.MULTILINE))
    told = {int(height): set(re.findall(r"`(\w+)/?`", rooms)) for height, rooms in rows.items()}
    assert told == {height: set(rooms) for height, rooms in enumerate(FLOORS)}
