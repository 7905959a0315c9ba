"""Where a run departs from a paper: what a built-in scenario's README says, and what the run changes in it."""

import re
from collections.abc import Mapping
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from semfed.report.sheets import Row, Sheet
from semfed.scenario import built_in, read, validate
from semfed.scenario.flat import differing

HEADING = "Departures from the paper"


def departures(scenario: Mapping[str, Any]) -> tuple[Markup | None, Sheet | None]:
    """Return the departures of the built-in scenario that a run is called like, and the settings that it has otherwise.

    Parameters
    ----------
    scenario : mapping
        The run's tables, every default in place.

    Returns
    -------
    table : Markup or None
        What the README says; None if the scenario is not built in.
    changed : Sheet or None
        None if it is not built in, or run as it is.
    """
    path = built_in().get(scenario["name"])
    readme = path.parent / "README.md" if path is not None else None
    if path is None or readme is None or not readme.is_file():
        return None, None
    section = re.search(
        rf"^## {HEADING}\n(.*?)(?=^## |\Z)", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    text = MarkdownIt("commonmark", {"html": False}).enable("table").render(section[1]) if section else ""
    table = re.sub(r'<a href="(?!https?:)[^"]*">(.*?)</a>', r"\1", text)  # other files are not part of the page
    found = differing([validate(read(path)).tree(), scenario])
    rows = [Row([setting, *(value or "–" for value in values)]) for setting, values in found.items()]
    changed = Sheet("settings that differ from the built-in scenario", ["setting", "built in", "here"], rows)
    return Markup(table) or None, changed if rows else None
