"""Overrides from the command line: ``--set channel.snr_db=5``.

A path may leave out tables in between as long as it means one setting only: ``m`` or ``data.m`` stands for
``data.partition.m``. Clients and arms are addressed by their names: ``arms.clustered.strategy.weighted=true``.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any

from semfed import scenario as scenarios
from semfed.errors import ScenarioError
from semfed.scenario import effects, plugins
from semfed.scenario.effects import Given
from semfed.scenario.schema import MOST_SEEDS, Scenario
from semfed.scenario.settings import Keys, suggest

Overrides = str | Sequence[str] | Mapping[str, Any]


def load(
    source: str | Path | Mapping[str, Any] | Scenario,
    overrides: Overrides = (),
    *,
    arms: str | Sequence[str] | None = None,
    seeds: int | str | Iterable[int] | None = None,
    sweep: str | Mapping[str, Any] | None = None,
) -> Scenario:
    """Read a scenario, lay overrides over it, and choose what is to run.

    Parameters
    ----------
    source : str, Path, mapping or Scenario
        A built-in's name, a folder with ``scenario.toml``, a TOML file, or what would stand in one.
    overrides : str, sequence of str, or mapping
        ``PATH=VALUE`` each, with values written as in TOML; bare words are strings. Or a mapping from paths to values.
    arms : str or sequence of str, optional
        Keep only these arms; a string may name several, separated by commas.
    seeds : int, str or iterable of int, optional
        These seeds instead of the scenario's; a string as in `parse_seeds`.
    sweep : str or mapping, optional
        ``PATH=VALUE,VALUE,...``, or a mapping from one path to its values: run every arm with every value.

    Raises
    ------
    ScenarioError
        If anything in it is unknown, ambiguous, invalid or without effect.
    """
    asked = parse_overrides(overrides)
    tree = _tree(source)
    file = source if isinstance(source, Scenario) else scenarios.validate(tree)
    effects.refuse_idle(file)
    tree, given = apply(tree, asked, file)
    complete = scenarios.validate(tree) if asked else file
    wanted = None if arms is None else _arms(arms)
    for arm in wanted or ():
        if arm not in complete.arm_names:
            hint = suggest(str(arm), complete.arm_names)
            raise ScenarioError(f"arm {arm!r}: not in scenario {complete.name!r}; {hint}")
    if wanted is not None or seeds is not None or sweep is not None:
        tree = complete.draft()
        if wanted is not None:
            tree["arms"] = [arm for arm in tree["arms"] if arm["name"] in wanted]
            if not wanted:
                raise ScenarioError("arms: none is chosen; name one, or leave the choice out")
        if seeds is not None:
            given += [Given(f"seeds={seeds}", ("seeds",), None)]
            tree["seeds"] = _seeds(seeds)
        if sweep is not None:
            tree = spread(tree, *parse_sweep(sweep), complete)
        complete = scenarios.validate(tree)
    by_arm = effects.idle_by_arm(complete)
    effects.require(complete, given, by_arm)
    return effects.settled(complete, by_arm)


def _tree(source: str | Path | Mapping[str, Any] | Scenario) -> dict[str, Any]:
    if isinstance(source, Scenario):
        return source.draft()
    if isinstance(source, Mapping):
        return dict(source)
    if not isinstance(source, str | Path):
        raise ScenarioError(f"scenario {source!r}: give a name, a path, or a mapping of tables")
    path = scenarios.locate(source)
    if path not in scenarios.built_in().values():
        plugins.search_in(path.resolve().parent)
    return scenarios.read(path)


def _arms(arms: str | Iterable[str]) -> list[str]:
    if isinstance(arms, str):
        return [arm.strip() for arm in arms.split(",")]
    return _listed("arms", arms, "give a name, or several")


def _seeds(seeds: int | str | Iterable[int]) -> list[Any]:
    if isinstance(seeds, str):
        return parse_seeds(seeds)
    remedy = "give a number, numbers, or a text such as 0-4"
    numbers: list[Any] = [seeds] if _is_integer(seeds) else _listed("seeds", seeds, remedy)
    return [int(number) if _is_integer(number) else number for number in numbers]


def _is_integer(value: Any) -> bool:
    """Whether it is an integer of Python's or NumPy's; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _listed(what: str, value: Any, remedy: str) -> list[Any]:
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise ScenarioError(f"{what} = {value!r}: {remedy}")
    return list(islice(value, MOST_SEEDS + 1))


def parse_overrides(overrides: Overrides) -> list[Given]:
    """Take overrides apart; their paths may be shortened.

    Raises
    ------
    ScenarioError
        If one is not written as ``PATH=VALUE``.

    Examples
    --------
    >>> parse_overrides("channel.snr_db=5")
    [Given(text='channel.snr_db=5', path=('channel', 'snr_db'), value=5, amends=False)]
    """
    if isinstance(overrides, Mapping):
        return [
            Given(f"{key}={value}", _keys(str(key)), value, amends=isinstance(value, Mapping) and "name" not in value)
            for key, value in overrides.items()
        ]
    found = []
    remedy = "give PATH=VALUE, several of them, or a mapping from paths to values"
    for text in [overrides] if isinstance(overrides, str) else _listed("overrides", overrides, remedy):
        path_text, equals, value = str(text).partition("=")
        path = _keys(path_text)
        if not equals or not all(path):
            raise ScenarioError(f"override {text!r}: write PATH=VALUE, such as channel.snr_db=5")
        found.append(Given(str(text), path, _value(value.strip())))
    return found


def _keys(path: str) -> Keys:
    return tuple(part.strip() for part in path.strip().split("."))


def parse_sweep(sweep: str | Mapping[str, Any]) -> tuple[Keys, dict[str, Any]]:
    """Return the path and the values of a sweep, by what they are called.

    Raises
    ------
    ScenarioError
        If it is written in another way.

    Examples
    --------
    >>> parse_sweep("channel.snr_db=0,5")
    (('channel', 'snr_db'), {'0': 0, '5': 5})
    """
    if isinstance(sweep, Mapping):
        if len(sweep) != 1:
            raise ScenarioError(f"sweep {dict(sweep)!r}: one setting can be swept at a time")
        ((path_text, values),) = sweep.items()
        values = _listed(f"sweep of {path_text}", values, "give several values")
        called = {str(value).lower() if isinstance(value, bool) else str(value): value for value in values}
        return _keys(str(path_text)), called
    if not isinstance(sweep, str):
        raise ScenarioError(f"sweep = {sweep!r}: give PATH=VALUE,VALUE,..., or a mapping from one path to its values")
    path_text, equals, values_text = sweep.partition("=")
    texts = [value.strip() for value in values_text.split(",")]
    if not equals or not all(texts):
        raise ScenarioError(f"sweep {sweep!r}: write PATH=VALUE,VALUE,..., such as channel.snr_db=0,5,10")
    twice = [text for text in texts if texts.count(text) > 1]
    if twice:
        raise ScenarioError(f"sweep {sweep!r}: {twice[0]} stands there twice; write it once")
    return _keys(path_text), {text: _value(text) for text in texts}


def spread(tree: Mapping[str, Any], asked: Keys, values: Mapping[str, Any], scenario: Scenario) -> dict[str, Any]:
    """Make of every arm one arm per value of a setting, named ``<arm>@<value>``.

    Parameters
    ----------
    tree : mapping
        A complete scenario's tables.
    asked : tuple of str
        Path of the setting, perhaps shortened.
    values : mapping
        By what they are called.
    scenario : Scenario
        With the settings of the tree.

    Raises
    ------
    ScenarioError
        If the setting is unknown, or one of a single client.
    """
    path = _resolve(asked, tree, scenario)
    if path[0] in ("arms", "clients", "seeds", "name", "description"):
        raise ScenarioError(f"sweep {'.'.join(asked)!r}: only settings that arms can differ in can be swept")
    arms = tree.get("arms") or [{"name": tree["name"]}]
    made = [
        {**_set(arm, path, value), "name": f"{arm['name']}@{called}"}
        for called, value in values.items()
        for arm in arms
    ]
    names = [arm["name"] for arm in arms]
    return {**tree, "arms": made, "sweep": {"setting": ".".join(path), "values": list(values.values()), "arms": names}}


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


def apply(tree: dict[str, Any], asked: Sequence[Given], scenario: Scenario) -> tuple[dict[str, Any], list[Given]]:
    """Return a tree of tables in which settings have other values; only all together have to make a scenario.

    Parameters
    ----------
    tree : dict
    asked : sequence of Given
        From `parse_overrides`; paths may be shortened.
    scenario : Scenario
        That the tree makes.

    Returns
    -------
    tree : dict
    given : list of Given
        With complete paths.
    """
    given: list[Given] = []
    renewed = True
    for one in asked:
        if not renewed:
            with suppress(ScenarioError):  # what is still to be set may mend it
                scenario, renewed = scenarios.validate(tree), True
        try:
            path = _resolve(one.path, tree, scenario)
            tree = _set(tree, path, one.value, amends=one.amends)
        except ScenarioError:
            scenarios.validate(tree)  # what is wrong with an earlier one may be the reason: then that is told
            raise
        given.append(replace(one, path=path))
        renewed = renewed and isinstance(one.value, int | float)  # a number brings no other settings along
    return tree, given


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


def _set(node: Any, path: Keys, value: Any, *, amends: bool = False) -> Any:
    if not path:
        return scenarios.merge(node, value) if amends and isinstance(node, Mapping) else value
    key, rest = path[0], path[1:]
    if isinstance(node, list):
        names = [str(item["name"]) if isinstance(item, Mapping) and "name" in item else "" for item in node]
        if key not in names:
            raise ScenarioError(f"override: no {key!r} here; {suggest(key, names)}")
        return [
            _set(item, rest, value, amends=amends) if name == key else item
            for name, item in zip(names, node, strict=True)
        ]
    if isinstance(node, str):  # a plugin given by its name alone
        node = {"name": node}
    if not isinstance(node, Mapping | None):
        raise ScenarioError(f"override: {key!r} is in no table here, but in {node!r}")
    table = dict(node or {})
    table[key] = _set(table.get(key), rest, value, amends=amends)
    return table
