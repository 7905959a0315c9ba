"""Scenarios as nobody should write them: built-in ones with values, keys, types and nesting that went wrong."""

import copy
import datetime
import math
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from semfed.scenario import Scenario, built_in, plugins, read
from semfed.scenario.settings import StrictModel

from .bases import BASES

Path = tuple[str | int, ...]
SEEDS = [read(path) for path in built_in().values()] + [make() for make in BASES.values()]
DATES = [datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1, 12), datetime.time(12)]
NUMBERS = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**30, 1e-320, 1e308, -0.0, 1e9, math.inf, -math.inf, math.nan]),
    st.floats(),
)
TEXTS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["", "\0", "[/x]", ":", "a:b", "os:system", "../..", "~nosuch/x", "é東", "\U0001f6f0", "x" * 5000]),
    st.sampled_from(
        ["auto", "cuda:7", "similarity", "one", "none", "allow", "accuracy/average", "cpu", "kept", "adam"]
    ),
    st.sampled_from([name for group in plugins.GROUPS for name in plugins.available(group)]),
)
SCALARS = st.one_of(NUMBERS, TEXTS, st.booleans(), st.sampled_from(DATES))


def _names() -> list[str]:
    """Return the names of settings everywhere, so that tables get keys that belong elsewhere."""

    def below(kind: type) -> Iterator[type]:
        yield kind
        for inner in kind.__subclasses__():
            yield from below(inner)

    for group in plugins.GROUPS:
        for name in plugins.available(group):
            plugins.load(group, name)
    return sorted({name for kind in below(StrictModel) for name in kind.model_fields} | set(Scenario.model_fields))


KEYS = st.one_of(st.sampled_from(_names()), TEXTS)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def paths(node: Any, here: Path = ()) -> Iterator[Path]:
    """Yield the path of every value inside tables and lists, but for very deep ones."""
    if len(here) > 12:
        return
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, item in items:
        yield (*here, key)
        yield from paths(item, (*here, key))


def change(node: Any, path: Path, make: Any) -> Any:
    """Return a tree in which `make` has been applied to the container of a value and its key."""
    if len(path) == 1:
        return make(copy.copy(node) if isinstance(node, dict) else list(node), path[0])
    parts = dict(node) if isinstance(node, dict) else list(node)
    parts[path[0]] = change(parts[path[0]], path[1:], make)  # type: ignore[index]
    return parts


@st.composite
def mutated(draw: st.DrawFn, seeds: list[dict[str, Any]] = SEEDS, most: int = 3) -> dict[str, Any]:
    """Return a scenario's tables with one to `most` changes."""
    tree = draw(st.sampled_from(seeds))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, most]))):
        known = list(paths(tree))
        if not known:
            break
        path = draw(st.sampled_from(known))
        kind = draw(
            st.sampled_from(
                [
                    "near",
                    "near",
                    "near",
                    "near",
                    "replace",
                    "replace",
                    "delete",
                    "add",
                    "rename",
                    "wrap",
                    "repeat",
                    "deep",
                ]
            )
        )
        value = draw(VALUES) if kind in ("replace", "add") else None
        key = draw(KEYS) if kind in ("add", "rename") else ""
        number = draw(NUMBERS) if kind == "near" else 0

        def make(
            parts: Any, at: Any, kind: str = kind, value: Any = value, key: str = key, number: Any = number
        ) -> Any:
            old = parts[at]
            if kind == "delete":
                del parts[at]
            elif kind == "add" and isinstance(parts, dict):
                parts[key] = value
            elif kind == "rename" and isinstance(parts, dict):
                parts[key] = parts.pop(at)
            elif kind == "near":  # of the same type, where it is a number
                numeric = isinstance(old, int | float) and not isinstance(old, bool)
                parts[at] = (type(old)(number) if math.isfinite(number) else number) if numeric else str(old)
            elif kind == "wrap":
                parts[at] = [old]
            elif kind == "repeat" and isinstance(parts, list):
                parts.insert(at, old)
            elif kind == "deep":
                for _ in range(60):
                    old = [old]
                parts[at] = old
            else:
                parts[at] = value
            return parts

        tree = change(tree, path, make)
    return tree
