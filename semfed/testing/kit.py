"""The checks of one kind of part: run all together, or given to pytest one by one."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError, to_jsonable_python

from semfed.errors import ScenarioError
from semfed.scenario import plugins
from semfed.scenario.plugins import Plugin
from semfed.scenario.settings import explain
from semfed.testing.check import Check, CheckFailed, DoesNotApply, Subject, require

Part = str | type | Mapping[str, Any]
"""A name as in a scenario, the class itself, or a table with ``name``, which is either of them, and settings."""


class Kit:
    """The checks of one kind of part.

    Parameters
    ----------
    group : str
        One of `semfed.scenario.plugins.GROUPS`.
    subject : callable
        Makes the subject of a choice and of the options of this kind.
    """

    def __init__(self, group: str, subject: Callable[..., Subject]) -> None:
        self.group, self._subject = group, subject
        self.functions: dict[str, Callable[[Any], None]] = {}
        self.check(settings_can_be_written_and_read)

    def check(self, function: Callable[[Any], None]) -> Callable[[Any], None]:
        """Add a check under the name of its function."""
        self.functions[function.__name__] = function
        return function

    def checks(self, part: Part, **options: Any) -> list[Check]:
        """Return all checks of a part.

        Raises
        ------
        ScenarioError
            If there is no such part, its settings are not valid, or it is of another kind.
        """
        subject = self._subject(choose(self.group, part), **options)
        return [Check(subject, name, function) for name, function in self.functions.items()]

    def run(self, part: Part, **options: Any) -> dict[str, str]:
        """Run all checks of a part.

        Returns
        -------
        dict of str to str
            By check, ``passed``, or why it does not apply.

        Raises
        ------
        CheckFailed
            With one line for every check that failed.
        """
        found, failures = dict[str, str](), list[CheckFailed]()
        for check in self.checks(part, **options):
            try:
                check()
            except DoesNotApply as reason:
                found[check.name] = str(reason)
            except CheckFailed as failure:
                failures.append(failure)
            else:
                found[check.name] = "passed"
        if failures:
            raise CheckFailed("\n".join(map(str, failures))) from failures[0]
        return found


def choose(group: str, part: Part) -> Plugin:
    """Return a part as a scenario would choose it.

    Raises
    ------
    ScenarioError
        If it cannot be loaded, or its settings are not valid.
    """
    table = dict(part) if isinstance(part, Mapping) else {"name": part}
    if isinstance(table["name"], type):
        table["name"] = f"{table['name'].__module__}:{table['name'].__qualname__}"
    try:
        return plugins.parse(group, table)
    except ValidationError as error:
        raise ScenarioError(f"{table['name']}: {explain(error)}") from error
    except PydanticCustomError as error:
        raise ScenarioError(str(error)) from error


def settings_can_be_written_and_read(subject: Subject) -> None:
    """Check, for a run folder keeps them, and messages carry them, as text."""
    choice = subject.choice
    again = plugins.parse(choice.group, json.loads(json.dumps(to_jsonable_python(choice.dump()))))
    require(
        again == choice,
        f"its settings are written as {choice.settings!r} and read as {again.settings!r}: declare types that text can "
        "hold, and validators that leave alone what they have made",
    )
