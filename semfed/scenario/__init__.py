"""What an experiment is: a scenario file, its settings, its plugins and what the command line changes in it."""

from semfed.scenario.arms import Arm, Axis, Point, Sweep, merge
from semfed.scenario.files import built_in, locate, read, validate
from semfed.scenario.schema import Scenario
from semfed.scenario.tables import ClientSpec, DataSettings, ModelSettings, Task, TrainingSettings

__all__ = [
    "Arm",
    "Axis",
    "ClientSpec",
    "DataSettings",
    "ModelSettings",
    "Point",
    "Scenario",
    "Sweep",
    "Task",
    "TrainingSettings",
    "built_in",
    "locate",
    "merge",
    "read",
    "validate",
]
