"""The settings of a scenario's tables by their dotted names, and which of them scenarios differ in."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def flat(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting of tables with its value; members of a list of named tables go by their names.

    Examples
    --------
    >>> dict(flat({"rounds": 2, "clients": [{"name": "a", "task": "t"}]}))
    {'rounds': 2, 'clients.a.name': 'a', 'clients.a.task': 't'}
    """
    named = isinstance(tree, list) and tree and all(isinstance(item, Mapping) and "name" in item for item in tree)
    members = {str(item["name"]): item for item in tree} if named else tree
    if isinstance(members, Mapping):
        for key, item in members.items():
            yield from flat(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree


def differing(trees: Sequence[Mapping[str, Any]]) -> dict[str, list[str | None]]:
    """Return the settings that not all scenarios have alike, with the text of each value; None where it is not set.

    Examples
    --------
    >>> differing([{"rounds": 2, "seeds": [0]}, {"rounds": 3, "seeds": [0]}])
    {'rounds': ['2', '3']}
    """
    each = [{path: _text(value) for path, value in flat(tree)} for tree in trees]
    found = {path: [settings.get(path) for settings in each] for path in dict.fromkeys(p for own in each for p in own)}
    return {path: values for path, values in found.items() if any(value != values[0] for value in values)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
