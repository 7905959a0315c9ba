"""Kinds of tasks, and which kind a learner serves."""

from typing import Any, Literal

TaskKind = Literal["classification", "reconstruction", "regression"]
"""To decide a semantic variable of an image, to have the image itself, or to estimate a real number of it."""


def require_kinds(scenario: Any) -> None:
    """Insist that the learner of a complete scenario serves the tasks that it is given.

    Learners say which kind they serve in their class attribute ``task_kind``; those without one, such as stock clients
    of Flower's, and those for which it is None, take any.

    Parameters
    ----------
    scenario : Scenario

    Raises
    ------
    ValueError
        If a client's task, or one of ``learner.tasks``, is of another kind.
    """
    served = getattr(scenario.learner.load(), "task_kind", None)
    if served is None:
        return
    named = [(f"clients.{client.name}.task", client.task) for client in scenario.clients]
    named += [("learner.tasks", name) for name in getattr(scenario.learner.settings, "tasks", ())]
    for place, name in named:
        kind = scenario.tasks[name].kind if name in scenario.tasks else served
        if kind != served:
            raise ValueError(
                f"{place} = {name!r} is a task of {kind}, but learner {scenario.learner.name!r} serves {served}: set "
                f"tasks.{name}.kind, or take another learner"
            )
