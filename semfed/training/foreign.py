"""torchmetrics' metrics as scores of decisions: what torchmetrics itself says of a client's pooled test."""

import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from semfed.errors import ScenarioError
from semfed.events.metrics import Metric
from semfed.scenario import Task
from semfed.scenario.foreign import ForeignSettings, adapted, construct, keywords, name_of, reason, takes
from semfed.training.judging import Judging

LIBRARY = "torchmetrics"
MANY = 100
"""Values of a task that stands for any, to ask a metric for its direction."""
FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "rows": lambda chances: chances,
    "second": lambda chances: chances[:, 1],
}
"""What a metric may want to know of decisions: the probability of every value, or, of two values, the second one's."""


class ForeignMetricSettings(ForeignSettings):
    """How a metric of torchmetrics is declared; how many values there are is filled in from the task."""

    filled: ClassVar[frozenset[str]] = frozenset({"num_classes"})
    called: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]*)?$")
    """Its name in tables, figures and records; empty for that of the class, ``MulticlassCohenKappa`` as
    ``multiclass-cohen-kappa``."""
    unit: str = ""
    """Of its values; empty for a number without one."""
    fraction: bool = False
    """Whether it is a share of 1, which is shown in percent."""
    better: Literal["higher", "lower"] | None = None
    """Its direction; unset, what the class says, and it may have none."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.fraction and self.unit:
            raise ValueError(f"unit = {self.unit!r}: a fraction is read in percent; leave one of them out")
        return self


class ForeignMetric(Judging):
    """A metric of torchmetrics, made anew for every test; see `adapt`."""

    Settings = ForeignMetricSettings
    settings: ForeignMetricSettings
    part: ClassVar[Callable[..., Any]]

    def __init__(self, settings: ForeignMetricSettings, task: Task) -> None:
        super().__init__(settings, task)
        self._form = self._fitting_form()

    @classmethod
    def declared(cls, settings: ForeignMetricSettings) -> Metric:
        """Return the declaration: the direction is the class's, a unit or a fraction has to be said."""
        name = settings.called or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", cls.part.__name__)
        told = {True: "higher", False: "lower", None: None}[_higher_is_better(cls.part, settings)]
        better: Any = settings.better or told
        return Metric(
            name if settings.called else name.lower(), settings.unit, better=better, fraction=settings.fraction
        )

    def judge(self, chances: Tensor, values: Tensor) -> float:
        """Return what the metric computes of all decisions together."""
        return self._value(self._form, chances, values)

    def _fitting_form(self) -> str:
        """Return the form of decisions that the metric takes, found with some that are made up.

        Raises
        ------
        ScenarioError
            If it takes none, or makes anything but a number of them.
        """
        size = self.task.size
        values = torch.arange(4 * size) % size
        chances = torch.softmax(torch.cos(torch.arange(4.0 * size * size)).reshape(-1, size), dim=1)
        problems = []
        for form in FORMS if size == 2 else ("rows",):
            try:
                with warnings.catch_warnings(action="ignore"):  # of decisions that nobody has made
                    self._value(form, chances, values)
            except ScenarioError:
                raise
            except Exception as error:
                problems.append(reason(error))
            else:
                return form
        raise ScenarioError(
            f"metric {name_of(self.part)} cannot score decisions among {size} values ({problems[0]}): change its "
            "arguments, or name a metric of classification"
        )

    def _value(self, form: str, chances: Tensor, values: Tensor) -> float:
        metric = _made(self.part, self.settings, self.task.size)
        metric.update(FORMS[form](chances), values)
        found = metric.compute()
        if not isinstance(found, Tensor) or found.numel() != 1:
            kind = f"{found.numel()} numbers" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ScenarioError(
                f"metric {name_of(self.part)} makes {kind} of a test instead of one: change its arguments, such as "
                "average = 'macro'"
            )
        return float(found)


def _made(part: Callable[..., Any], settings: ForeignMetricSettings, size: int) -> Any:
    """Make a metric of its arguments, for so many values where it wants to know."""
    known = {"num_classes": size} if takes(part, "num_classes") else {}
    return construct(part, keywords(settings, ForeignMetricSettings) | known, nn.Module)


def _higher_is_better(part: Callable[..., Any], settings: ForeignMetricSettings) -> bool | None:
    """Return what a class says of its direction, or, of one that makes metrics of another class, what that says."""
    said = getattr(part, "higher_is_better", None)
    return _made(part, settings, MANY).higher_is_better if said is None else bool(said)


def adapt(part: Any) -> Any:
    """Return a metric of a torchmetrics class, or of a class derived from one; anything else as it is.

    Raises
    ------
    ScenarioError
        If it has an argument that no scenario can give.
    """
    bases = part.__mro__ if isinstance(part, type) and not hasattr(part, "judge") else ()
    return _adapted(part) if any(base.__module__.split(".")[0] == LIBRARY for base in bases) else part


@lru_cache(maxsize=64)
def _adapted(part: Any) -> type[ForeignMetric]:
    return adapted(part, ForeignMetric, ForeignMetricSettings)
