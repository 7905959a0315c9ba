"""Overrides from the command line: ``--set channel.snr_db=5``.

A path may leave out tables in between as long as it means one setting only: ``m`` or ``data.m`` stands for
``data.partition.m``, and what all clients share goes before what one may have of its own. Clients and arms are
addressed by their names: ``arms.clustered.strategy.weighted=true``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from semfed import scenario as scenarios
from semfed.errors import ScenarioError
from semfed.scenario import effects, plugins, sweeps
from semfed.scenario.arms import Sweep
from semfed.scenario.effects import Given
from semfed.scenario.schema import MOST_SEEDS, Scenario
from semfed.scenario.settings import Keys, explain, suggest
from semfed.scenario.sweeps import Swept, keys, value_of

Overrides = str | Sequence[str] | Mapping[str, Any]


def load(
    source: str | Path | Mapping[str, Any] | Scenario,
    overrides: Overrides = (),
    *,
    arms: str | Sequence[str] | None = None,
    seeds: int | str | Iterable[int] | None = None,
    sweep: Swept | None = None,
) -> Scenario:
    """Read a scenario, lay overrides over it, and choose what is to run.

    Parameters
    ----------
    source : str, Path, mapping or Scenario
        A built-in's name, a folder with ``scenario.toml``, a TOML file, or what would stand in one.
    overrides : str, sequence of str, or mapping
        ``PATH=VALUE`` each, with values written as in TOML; bare words are strings. Or a mapping from paths to values.
    arms : str or sequence of str, optional
        Keep only these arms; a string may name several, separated by commas. The name of an arm that is swept stands
        for all of its points.
    seeds : int, str or iterable of int, optional
        These seeds instead of the scenario's; a string as in `parse_seeds`.
    sweep : str, sequence of str, or mapping, optional
        Settings and their values, see `semfed.scenario.sweeps.parse`: run every arm with every combination, instead of
        what the file says under ``[sweep]``.

    Raises
    ------
    ScenarioError
        If anything in it is unknown, ambiguous, invalid or without effect.
    """
    asked = parse_overrides(overrides)
    tree = _tree(source)
    written = tree.pop("sweep") if sweeps.is_written(tree.get("sweep")) else None
    file = source if isinstance(source, Scenario) else scenarios.validate(tree)
    effects.refuse_idle(file if written is None else scenarios.validate(spread(tree, written, file)))
    tree, given = apply(tree, asked, file)
    complete = scenarios.validate(tree) if asked else file
    sweep = written if sweep is None or (isinstance(sweep, list | tuple) and not sweep) else sweep
    if arms is not None or seeds is not None or sweep is not None:
        tree = complete.draft()
        if arms is not None:
            tree |= _choose(_arms(arms), complete)
        if seeds is not None:
            given += [Given(f"seeds={seeds}", ("seeds",), None)]
            tree["seeds"] = _seeds(seeds)
        if sweep is not None:
            tree = spread(tree, sweep, complete)
        complete = scenarios.validate(tree)
    by_arm = effects.idle_by_arm(complete)
    effects.require(complete, given, by_arm)
    return effects.settled(complete, by_arm)


def _choose(wanted: Sequence[str], scenario: Scenario) -> dict[str, Any]:
    """Return the tables of the arms that are chosen; of a sweep, that of which all points are."""
    points = scenario.sweep.points() if scenario.sweep is not None else {}
    known = [*scenario.arm_names, *(point.arm for point in points.values())]
    for arm in wanted:
        if arm not in known:
            hint = suggest(str(arm), known)
            raise ScenarioError(f"arm {arm!r}: not in scenario {scenario.name!r}; {hint}")
    if not wanted:
        raise ScenarioError("arms: none is chosen; name one, or leave the choice out")
    chosen = [n for n in scenario.arm_names if n in wanted or (n in points and points[n].arm in wanted)]
    tables = [arm for arm in scenario.draft()["arms"] if arm["name"] in chosen]
    if scenario.sweep is None:
        return {"arms": tables}
    kept = scenario.sweep.model_copy(update={"arms": list(dict.fromkeys(points[name].arm for name in chosen))})
    return {"arms": tables, "sweep": kept.model_dump(mode="json") if list(kept.points()) == chosen else None}


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
            Given(f"{key}={value}", keys(str(key)), value, amends=isinstance(value, Mapping) and "name" not in value)
            for key, value in overrides.items()
        ]
    found = []
    remedy = "give PATH=VALUE, several of them, or a mapping from paths to values"
    for text in [overrides] if isinstance(overrides, str) else _listed("overrides", overrides, remedy):
        path_text, equals, value = str(text).partition("=")
        path = keys(path_text)
        if not equals or not all(path):
            raise ScenarioError(f"override {text!r}: write PATH=VALUE, such as channel.snr_db=5")
        found.append(Given(str(text), path, value_of(value.strip())))
    return found


def spread(tree: Mapping[str, Any], sweep: Swept, scenario: Scenario) -> dict[str, Any]:
    """Make of every arm one arm per point of a sweep; see `semfed.scenario.arms.Sweep.name`.

    Parameters
    ----------
    tree : mapping
        A complete scenario's tables.
    sweep : str, sequence of str, or mapping
        Its paths may be shortened.
    scenario : Scenario
        With the settings of the tree.

    Raises
    ------
    ScenarioError
        If a setting is unknown, one of a single client, or swept twice.
    """
    if scenario.sweep is not None:
        names = ", ".join(axis.setting for axis in scenario.sweep.axes)
        raise ScenarioError(f"sweep {sweep!r}: the arms of this scenario are swept over {names} already")
    axes: list[dict[str, Any]] = []
    paths: list[Keys] = []
    for asked, values in sweeps.parse(sweep):
        path = _resolve(asked, tree, scenario)
        if path[0] in ("arms", "clients", "seeds", "name", "description", "headline", "sweep"):
            raise ScenarioError(f"sweep {'.'.join(asked)!r}: only settings that arms can differ in can be swept")
        for before in paths:
            if before[: len(path)] == path:
                raise ScenarioError(f"sweep {'.'.join(path)!r} replaces {'.'.join(before)!r}: write it once, or first")
        paths.append(path)
        axes.append({"setting": ".".join(path), "values": values})
    arms = {arm["name"]: arm for arm in tree.get("arms") or [{"name": tree["name"]}]}
    try:
        made = Sweep.model_validate({"axes": axes, "arms": list(arms)})
    except ValidationError as error:
        raise ScenarioError(explain(error)) from error
    tables = []
    for name, point in made.points().items():
        table = arms[point.arm]
        for path, value in zip(paths, point.values.values(), strict=True):
            table = _set(table, path, value)
        tables.append({**table, "name": name})
    return {**tree, "arms": tables, "sweep": {"axes": axes, "arms": list(arms)}}


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
    if parts[0] != "clients":  # what is everybody's goes before what one client may have of its own
        found = [path for path in found if path[0] != "clients"] or found
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
