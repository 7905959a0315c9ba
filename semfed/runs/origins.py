"""Where the parts of a scenario came from that are no entry points, so that its run folder can be read by itself."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from semfed.runs import folder as folders
from semfed.scenario import Scenario, plugins

KEY = "plugin_folders"
"""In ``environment.json``."""


def plugin_folders(scenario: Scenario) -> list[str]:
    """Return the folders that the modules of a scenario's ``module:attribute`` were imported from, sorted."""
    found = set()
    for name in _texts(scenario.tree()):
        module = sys.modules.get(name.partition(":")[0]) if ":" in name else None
        file = getattr(module, "__file__", None)
        if module is not None and file:
            found.add(str(Path(file).resolve().parents[module.__name__.count(".") + hasattr(module, "__path__")]))
    return sorted(found)


def search_again(folder: Path) -> None:
    """Let the parts of a run be found where they were when it began.

    Raises
    ------
    RunFolderError
        If what the run folder says of itself is damaged.
    """
    path = folder / folders.ENVIRONMENT
    for noted in folders.read_json(path).get(KEY, []) if path.is_file() else ():
        plugins.search_in(Path(noted))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _texts(item)
