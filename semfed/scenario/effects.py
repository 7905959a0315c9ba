"""Which settings have no effect, given the others: a value that changes nothing is refused, not carried along.

A field of a table says what it depends on within its table by `only_when`; a table says what depends on other tables by
a method ``idle(scenario, here)`` that gives the dotted paths of idle settings, each with a reason; `here` is the path
of the table itself. Only a value that differs from its default counts, so that a scenario that is written with every
default in place can be read again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semfed.errors import ScenarioError
from semfed.scenario import Scenario, merge, validate
from semfed.scenario.settings import Keys, OnlyWhen, StrictModel, tables

ByArm = Mapping[str, Mapping[Keys, str]]


@dataclass(frozen=True)
class Given:
    """A setting that somebody asks for beside the file.

    Attributes
    ----------
    text : str
        What was written.
    path : tuple of str
        From the scenario's root.
    value : object
    amends : bool
        Whether a table is laid over the one that is there, instead of replacing it.
    """

    text: str
    path: Keys
    value: Any
    amends: bool = False


def idle(scenario: Scenario) -> dict[Keys, str]:
    """Return the settings of one arm's complete scenario that differ from their default to no effect, with the reason.

    Parameters
    ----------
    scenario : Scenario
        Without arms.
    """
    found: dict[Keys, str] = {}
    known = {".".join(path): (path, table) for path, table in tables(scenario)}
    for path, table in known.values():
        for name, field in type(table).model_fields.items():
            for rule in field.metadata:
                if isinstance(rule, OnlyWhen) and not rule.holds(table) and _differs(table, name):
                    found[*path, name] = rule.reason(table)
        named = getattr(table, "idle", None)
        for dotted, reason in named(scenario, ".".join(path)) if named is not None else ():
            parent, _, name = dotted.rpartition(".")
            if parent in known and name in type(known[parent][1]).model_fields and _differs(known[parent][1], name):
                found[*known[parent][0], name] = reason
    return found


def refuse_idle(scenario: Scenario) -> None:
    """Insist that every value of a scenario has an effect: what an arm says in this arm, all else in one arm at least.

    Raises
    ------
    ScenarioError
        With the setting, its value and what it depends on.
    """
    by_arm = idle_by_arm(scenario)
    for arm in scenario.arms:
        for path, reason in by_arm[arm.name].items():
            if _says(arm.changes, path):
                raise ScenarioError(_sentence(("arms", arm.name, *path), _at(arm.changes, path), reason))
    for path, reason in _common(by_arm).items():
        raise ScenarioError(_sentence(path, _at(scenario.tree(), path), reason))


def require(scenario: Scenario, given: Sequence[Given], by_arm: ByArm) -> None:
    """Insist that what was asked for beside the file reaches an arm that runs, and has an effect there.

    A setting that is swept must have one in every arm.

    Parameters
    ----------
    scenario : Scenario
        With the arms that run.
    given : sequence of Given
    by_arm : mapping
        From `idle_by_arm`.

    Raises
    ------
    ScenarioError
        If it is replaced later, by all arms that run, or has no effect in those that it reaches.
    """
    for number, one in enumerate(given):
        for later in given[number + 1 :]:
            if one.path[: len(later.path)] == later.path:
                raise ScenarioError(f"override {one.text!r}: {later.text!r} replaces it; leave one of them out")
    for arm in scenario.arms:
        for path, reason in by_arm[arm.name].items():
            for swept in _swept(scenario):
                if swept[: len(path)] == path:
                    raise ScenarioError(_sentence(("arms", arm.name, *swept), _at(arm.changes, swept), reason))
    base = {key: item for key, item in scenario.tree().items() if key != "arms"}
    for one in given:
        arms = _reached(scenario, base, one.path)
        own = one.path[2:] if one.path[0] == "arms" and len(one.path) > 2 else one.path
        if not arms:
            raise ScenarioError(f"override {one.text!r}: {_unreached(one.path, scenario)}")
        for leaf in _leaves(own, one.value):
            reasons = [
                next((by_arm[name][leaf[:k]] for k in range(1, len(leaf) + 1) if leaf[:k] in by_arm[name]), None)
                for name in arms
            ]
            if all(reasons):
                raise ScenarioError(f"override {one.text!r}: {_sentence(leaf, one.value, str(reasons[0]))}")


def settled(scenario: Scenario, by_arm: ByArm) -> Scenario:
    """Return the scenario with every setting at its default that has no effect in any of its arms.

    A choice of arms, or an override, may have left such settings; they were of use before.
    """
    if not any(by_arm.values()):
        return scenario
    tree = scenario.draft()
    for arm in tree["arms"]:
        for path in by_arm[arm["name"]]:
            _remove(arm, path)
    for path in _common(by_arm):
        _remove(tree, path)
    return scenario if tree == scenario.draft() else validate(tree)


def idle_by_arm(scenario: Scenario) -> ByArm:
    """Return `idle` of all arms."""
    return {name: idle(scenario.arm(name)) for name in scenario.arm_names}


def _common(by_arm: ByArm) -> dict[Keys, str]:
    first, *others = by_arm.values()
    return {path: reason for path, reason in first.items() if all(path in other for other in others)}


def _differs(table: StrictModel, name: str) -> bool:
    field = type(table).model_fields[name]
    return not field.is_required() and getattr(table, name) != field.get_default(call_default_factory=True)


def _sentence(path: Keys, value: Any, reason: str) -> str:
    shown = f" = {value!r}" if isinstance(value, str | int | float | bool) else ""
    return f"{'.'.join(path)}{shown} has no effect: {reason}; leave it out"


def _unreached(path: Keys, scenario: Scenario) -> str:
    name = ".".join(path)
    if path[0] == "arms":
        if path[2:] in _swept(scenario):
            return "the sweep replaces it; leave one of them out"
        return f"arm {path[1]!r} does not run; choose it with --arms"
    return f"every arm that runs sets {name} itself; write arms.<arm>.{name}=... for one of them"


# -- tables of tables ------------------------------------------------------------------------------------------


class _Mark:
    """Stands for a value, to see where it goes."""


def _reached(scenario: Scenario, base: Mapping[str, Any], path: Keys) -> list[str]:
    """Return the arms of whose complete scenario that is a part which lies at a path of the tables around them."""
    if not scenario.arms:
        return list(scenario.arm_names)
    if path[0] == "arms":
        points = scenario.sweep.points() if scenario.sweep is not None else {}
        own = [path[1], *(name for name, point in points.items() if point.arm == path[1])]
        return [] if path[2:] in _swept(scenario) else [name for name in own if name in scenario.arm_names]
    mark = _Mark()
    marked = _marked(base, path, mark)
    return [arm.name for arm in scenario.arms if _holds(merge(marked, arm.changes), mark)]


def _swept(scenario: Scenario) -> list[Keys]:
    return [] if scenario.sweep is None else [tuple(axis.setting.split(".")) for axis in scenario.sweep.axes]


def _marked(node: Any, path: Keys, mark: _Mark) -> Any:
    """Return a tree in which all values at and below a path are a mark; a table keeps its name, and gets one more."""
    if not path:
        if not isinstance(node, Mapping):
            return mark
        marked = {key: item if key == "name" else _marked(item, (), mark) for key, item in node.items()}
        return {**marked, "": mark}
    key, rest = path[0], path[1:]
    if isinstance(node, list):
        if all(str(item["name"]) != key for item in node):  # of the table that stood for the list, such as a count
            return [_marked(item, (), mark) for item in node]
        return [_marked(item, rest, mark) if str(item["name"]) == key else item for item in node]
    return {**node, key: _marked(node.get(key), rest, mark)}


def _holds(node: Any, mark: _Mark) -> bool:
    if isinstance(node, Mapping):
        return any(_holds(item, mark) for item in node.values())
    return any(_holds(item, mark) for item in node) if isinstance(node, list) else node is mark


def _leaves(path: Keys, value: Any) -> Iterator[Keys]:
    """Yield the paths of all values inside tables, and inside lists of tables, which go by their names."""
    if isinstance(value, list) and value and all(isinstance(item, Mapping) and "name" in item for item in value):
        value = {str(item["name"]): item for item in value}
    if not isinstance(value, Mapping):
        yield path
        return
    for key, item in value.items():
        yield from _leaves((*path, key), item)


def _says(node: Any, path: Keys) -> bool:
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return False
        node = node[key]
    return True


def _at(node: Any, path: Keys) -> Any:
    for key in path:
        node = next((item for item in node if item["name"] == key), {}) if isinstance(node, list) else node.get(key)
    return node


def _remove(node: Any, path: Keys) -> None:
    """Take a setting out of a tree, in place; it may not be there."""
    for key in path[:-1]:
        if isinstance(node, list):
            node = next((item for item in node if item["name"] == key), None)
        else:
            node = node.get(key) if isinstance(node, Mapping) else None
    if isinstance(node, dict):
        node.pop(path[-1], None)
