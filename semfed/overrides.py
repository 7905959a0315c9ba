"""Overrides from the command line: ``--set channel.snr_db=5``.

A path may leave out tables in between as long as it means one setting only: ``m`` or ``data.m`` stands for
``data.partition.m``. Clients and arms are addressed by their names: ``arms.clustered.strategy.weighted=true``.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from semfed import scenario as scenarios
from semfed.errors import ScenarioError
from semfed.scenario import MOST_SEEDS, Scenario
from semfed.settings import suggest

Keys = tuple[str, ...]


def load(
    name: str | Path,
    overrides: Sequence[str] = (),
    *,
    arms: Sequence[str] | None = None,
    seeds: Iterable[int] | None = None,
    sweep: str | None = None,
) -> Scenario:
    """Read a scenario, lay overrides over it, and choose what is to run.

    Parameters
    ----------
    name : str or Path
        A built-in's name, a folder with ``scenario.toml``, or a TOML file.
    overrides : sequence of str
        ``PATH=VALUE`` each, with values written as in TOML; bare words are strings.
    arms : sequence of str, optional
        Keep only these arms.
    seeds : iterable of int, optional
        These seeds instead of the scenario's.
    sweep : str, optional
        ``PATH=VALUE,VALUE,...``: run every arm with every value.

    Raises
    ------
    ScenarioError
        If anything in it is unknown, ambiguous or invalid.
    """
    tree = apply(scenarios.read(scenarios.locate(name)), overrides)
    complete = scenarios.validate(tree)
    for arm in arms or ():
        if arm not in complete.arm_names:
            raise ScenarioError(f"arm {arm!r}: not in scenario {complete.name!r}; {suggest(arm, complete.arm_names)}")
    tree = complete.tree()
    if arms is not None:
        tree["arms"] = [arm for arm in tree["arms"] if arm["name"] in arms]
    if seeds is not None:
        tree["seeds"] = list(islice(seeds, MOST_SEEDS + 1))
    return scenarios.validate(tree if sweep is None else spread(tree, sweep))


def spread(tree: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Make of every arm one arm per value of a setting, named ``<arm>@<value>``.

    Parameters
    ----------
    tree : mapping
        A complete scenario's tables.
    text : str
        ``PATH=VALUE,VALUE,...``

    Raises
    ------
    ScenarioError
        If the setting is unknown, or one of a single client.
    """
    path_text, equals, values_text = text.partition("=")
    values = [value.strip() for value in values_text.split(",")]
    if not equals or not all(values):
        raise ScenarioError(f"sweep {text!r}: write PATH=VALUE,VALUE,..., such as channel.snr_db=0,5,10")
    path = _resolve(tuple(path_text.strip().split(".")), tree, scenarios.validate(tree))
    if path[0] in ("arms", "clients", "seeds", "name"):
        raise ScenarioError(f"sweep {text!r}: only settings that arms can differ in can be swept")
    arms = tree.get("arms") or [{"name": tree["name"]}]
    made = [{**_set(arm, path, _value(value)), "name": f"{arm['name']}@{value}"} for value in values for arm in arms]
    names = [arm["name"] for arm in arms]
    numbers = [_value(value) for value in values]
    return {**tree, "arms": made, "sweep": {"setting": ".".join(path), "values": numbers, "arms": names}}


def parse_seeds(text: str) -> list[int]:
    """Read a list of seeds: numbers and ranges.

    Raises
    ------
    ScenarioError
        If it is anything else.

    Examples
    --------
    >>> parse_seeds("0-2,7")
    [0, 1, 2, 7]
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise ScenarioError(f"seeds {text!r}: write numbers and ranges, such as 0-4 or 0,2,5-7")
        if len(seeds) + last - first >= MOST_SEEDS:
            raise ScenarioError(f"seeds {text!r}: more than {MOST_SEEDS}; write fewer")
        seeds += range(first, last + 1)
    return seeds


def apply(tree: dict[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """Return a tree of tables in which settings have other values; only all together have to make a scenario."""
    scenario: Scenario | None = None
    for text in texts:
        try:
            scenario = scenarios.validate(tree)
        except ScenarioError:
            if scenario is None:
                raise
        try:
            tree = _apply(tree, text, scenario)
        except ScenarioError:
            scenarios.validate(tree)  # what is wrong with an earlier one may be the reason: then that is told
            raise
    return tree


def _apply(tree: Mapping[str, Any], text: str, scenario: Scenario) -> dict[str, Any]:
    path_text, equals, value_text = text.partition("=")
    parts = tuple(part.strip() for part in path_text.strip().split("."))
    if not equals or not all(parts):
        raise ScenarioError(f"override {text!r}: write PATH=VALUE, such as channel.snr_db=5")
    path = _resolve(parts, tree, scenario)
    arms = tree.get("arms") or []
    if arms and all(_says(arm, path) for arm in arms):
        name = ".".join(path)
        raise ScenarioError(
            f"override {text!r}: every arm sets {name} itself; write arms.<arm>.{name}=... for one of them"
        )
    changed: dict[str, Any] = _set(tree, path, _value(value_text.strip()))
    return changed


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, or none that Python reads: then it has to make sense as text
        return text


def _resolve(parts: Keys, tree: Mapping[str, Any], scenario: Scenario) -> Keys:
    """Complete a path; arms are looked up in their complete scenarios, since they write down only differences."""
    if parts[0] == "arms" and len(parts) > 2:
        return (*parts[:2], *_match(parts[2:], _paths(scenario.arm(parts[1]).model_dump())))
    resolved = scenario.model_dump(exclude={"arms"})
    return _match(parts, [*_paths(resolved), *(path for path in _paths(tree) if path[0] != "arms")])


def _match(parts: Keys, known: Iterable[Keys]) -> Keys:
    paths = list(dict.fromkeys(known))
    if parts in paths:
        return parts
    found = [path for path in paths if path[-1] == parts[-1] and _is_subsequence(parts, path)]
    if len(found) == 1:
        return found[0]
    name = ".".join(parts)
    if found:
        raise ScenarioError(f"override {name!r} could mean {' or '.join('.'.join(path) for path in found)}; say which")
    raise ScenarioError(f"override {name!r}: no such setting; {suggest(name, ('.'.join(path) for path in paths))}")


def _is_subsequence(parts: Keys, path: Keys) -> bool:
    rest = iter(path)
    return all(part in rest for part in parts)


def _paths(value: Any, prefix: Keys = ()) -> Iterable[Keys]:
    """Yield the path of every table and setting; the members of a list of tables go by their names."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield (*prefix, key)
            yield from _paths(item, (*prefix, key))
    elif isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, Mapping) and "name" in item:
                yield from _paths(item, (*prefix, str(item["name"])))


def _says(tables: Mapping[str, Any], path: Keys) -> bool:
    """Whether tables have a value, not just further tables, at a path."""
    node: Any = tables
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
    return not isinstance(node, Mapping)


def _set(node: Any, path: Keys, value: Any) -> Any:
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(node, list):
        if not any(str(item["name"]) == key for item in node):
            raise ScenarioError(f"override: no {key!r} here; {suggest(key, (str(item['name']) for item in node))}")
        return [_set(item, rest, value) if str(item["name"]) == key else item for item in node]
    if isinstance(node, str):  # a plugin given by its name alone
        node = {"name": node}
    table = dict(node or {})
    table[key] = _set(table.get(key), rest, value)
    return table
