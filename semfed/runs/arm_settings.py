"""All settings of an arm by their dotted names, those too that only its own parts have."""

from collections.abc import Mapping
from typing import Any

from semfed.scenario import Scenario, merge
from semfed.scenario.flat import flat

DESCRIBING = ("name", "description", "headline", "arms", "sweep")
"""What a scenario says that decides no number of an arm."""


def settings_of(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return an arm's settings by their dotted names, from a resolved scenario and what the arm changes of it."""
    complete = merge(tree, changes)
    return dict(flat({key: value for key, value in complete.items() if key not in DESCRIBING}))


def unsaid(scenario: Scenario) -> dict[str, dict[str, Any]]:
    """Return, by arm, the defaults of parts that the arm has and the scenario around it has not.

    A resolved scenario is written with its own defaults in place, and with what each arm changes as that was given.
    """
    tree, found = scenario.tree(), dict[str, dict[str, Any]]()
    for changes in tree.get("arms", ()):
        said = settings_of(tree, changes)
        complete = settings_of(scenario.arm(changes["name"]).tree(), {})
        defaults = {name: value for name, value in complete.items() if name not in said}
        if defaults:
            found[changes["name"]] = defaults
    return found
