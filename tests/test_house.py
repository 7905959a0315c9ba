"""What docs/house.md names is there, and its floors are those that are checked."""

import importlib
import re
from pathlib import Path

import pytest

from tests.test_architecture import FLOORS

PAGE = (Path(__file__).parents[1] / "docs" / "house.md").read_text()
NAMES = sorted(set(re.findall(r"`(semfed(?:\.\w+)+)`", PAGE)))


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


def test_the_table_has_the_floors_of_the_house() -> None:
    rows = dict(re.findall(r"^\| (\d) \| (.*?) \|", PAGE, re.MULTILINE))
    told = {int(height): set(re.findall(r"`(\w+)/?`", rooms)) for height, rooms in rows.items()}
    assert told == {height: set(rooms) for height, rooms in enumerate(FLOORS)}
