"""Trackers: a run's metrics in TensorBoard, Weights & Biases or MLflow, by ``--track``, while it runs."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from semfed.errors import ScenarioError
from semfed.runs.tracking.base import Tracker
from semfed.scenario.settings import suggest

TRACKERS = {"tensorboard": "TensorBoard", "wandb": "WandB", "mlflow": "MLflow"}
"""By the name of the package, which is that of the module here too."""


def find(names: Sequence[str]) -> list[type[Tracker]]:
    """Return the trackers of these names, ready to be used.

    Raises
    ------
    ScenarioError
        If there is no such tracker, its package is missing, or it says itself why it cannot be used.
    """
    found: list[type[Tracker]] = []
    for name in names:
        if name not in TRACKERS:
            raise ScenarioError(f"track = {name!r}: there is no such tracker; {suggest(name, TRACKERS)}")
        spec = find_spec(name)
        if (
            spec is None or spec.origin is None
        ):  # a folder of that name, such as wandb makes for its runs, is no package
            raise ScenarioError(f"track = {name!r}: the package {name} is missing; pip install 'semfed[tracking]'")
        kind: type[Tracker] = getattr(import_module(f"{__name__}.{name}"), TRACKERS[name])
        kind.require_ready()
        found.append(kind)
    return found
