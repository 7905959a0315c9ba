"""Metrics: what a run measures, declared once. Recorder, tables, figures and statistics know nothing else about it.

A learner or strategy lists what it reports in its class attribute ``metrics``, a tuple of `Metric`; a subclass adds to
its bases. What the framework itself reports is `FRAMEWORK`. A run keeps the declarations in its folder, so that its
tables and figures are made without the plugins that it ran with.

A recorded name is a declared one, or one with further parts: ``accuracy/t1`` and ``accuracy/average`` are of
``accuracy``. A client that reports ``accuracy`` alone means its own task; the mean over clients gets ``average``.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ConfigDict, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from semfed.errors import FederationError, ScenarioError

if TYPE_CHECKING:
    from semfed.scenario import Scenario

Role = Literal["score", "loss", "cost", "signal", "convergence", "baseline", "detail"]
NUMBER = "{}"
"""Stands in the name of a family for the number that tells its members apart."""
WHOLE = {"mean": "average", "power-mean": "average", "sum": "total"}
"""How the value over all clients is called, by `Metric.over_clients`."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Metric:
    """The declaration of a metric.

    Parameters
    ----------
    name : str
        As it is recorded, or its first parts: ``accuracy``, ``snr/received-db``. A family has ``{}`` where its members
        have a number: ``accuracy-at-{}dB``.
    unit : str
        Of its values, such as ``dB``; empty for a number without one.
    better : {"higher", "lower"}, optional
        Its direction; without one no arm is the best.
    fraction : bool
        Whether it is a share of 1, which people read in percent.
    over_clients : {"mean", "power-mean", "sum", "none"}
        How clients' values make one: ``power-mean`` averages dB as ratios of powers, so that 0 and 20 dB have
        10 log10((1 + 100) / 2) = 17.03 dB; ``none`` for what has no value over clients.
    over_rounds : {"last", "sum"}
        What is told of a whole run: the value of its last round, or the total.
    role : str
        Where it is shown. ``score``: what a test is about, in tables and figures; ``cost`` and ``signal``: in the
        tables of these; ``convergence``: in a figure with a logarithmic axis; ``baseline``: what a client's properties
        tell of a trivial decision, a row below the scores; ``loss``: in the history, not in results files; ``detail``:
        in summary and results files.
    text : str
        How people call it; its name by default.
    against : str
        Another metric that it is drawn against, in a figure of its own; of a family, what its number is, with a unit.
    baseline : str
        How people call the trivial decision that a client's property ``baseline/<name>`` tells of.

    Raises
    ------
    ValidationError
        If a value is none of these, or a fraction has a unit.
    """

    name: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    fraction: bool = False
    over_clients: Literal["mean", "power-mean", "sum", "none"] = "mean"
    over_rounds: Literal["last", "sum"] = "last"
    role: Role = "score"
    text: str = ""
    against: str = ""
    baseline: str = "trivial decision"

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not self.name:
            raise ValueError("a metric needs a name")
        if self.fraction and self.unit:
            raise ValueError(f"metric {self.name!r} is a fraction, which is read in percent: leave unit out")
        return self

    @property
    def words(self) -> str:
        """How people call it."""
        return self.text or re.sub("[-_/]", " ", self.name)

    @property
    def shown_unit(self) -> str:
        """The unit of what tables and figures show."""
        return "%" if self.fraction else self.unit

    @property
    def scale(self) -> float:
        """What tables and figures multiply a value with."""
        return 100.0 if self.fraction else 1.0

    @property
    def whole(self) -> str | None:
        """How its value over all clients is called, where a client names no more than the metric itself."""
        return WHOLE.get(self.over_clients)

    def label(self, recorded: str) -> str:
        """Describe a recorded metric with its unit.

        Examples
        --------
        >>> psnr = Metric("psnr", unit="dB", text="PSNR")
        >>> psnr.label("psnr"), psnr.label("psnr/average"), psnr.label("psnr/t1")
        ('PSNR (dB)', 'average PSNR (dB)', 'PSNR of t1 (dB)')
        """
        part, words = self.part(recorded), self.words
        if part:
            words = f"{part} {words}" if part in WHOLE.values() else f"{words} of {part}"
        return f"{words} ({self.shown_unit})" if self.shown_unit else words

    def spec(self, value: float, digits: int = 2) -> str:
        """Return the format of a shown value: so many decimals, or three significant digits where these are too few.

        Of fractions and of decibels, decimals are never too few: what is near 0 there is no small quantity.
        """
        small = not self.fraction and self.unit != "dB" and 0 < abs(value) < 10 ** (1 - digits)
        return ".3g" if small else f".{digits}f"

    def part(self, recorded: str) -> str:
        """Return what a recorded name adds: the task, or ``average``; empty if it adds nothing."""
        return "/".join(recorded.split("/")[self.name.count("/") + 1 :])

    def summand(self, value: float) -> float:
        """Return what is added up over clients for a value."""
        return 10 ** (value / 10) if self.over_clients == "power-mean" else value

    def combined(self, total: float, count: int) -> float:
        """Return the value over so many clients from the sum of their `summand`."""
        if self.over_clients == "sum":
            return total
        mean = total / count
        if self.over_clients != "power-mean":
            return mean
        return -math.inf if mean == 0 else 10 * math.log10(mean)

    def over(self, values: Sequence[float]) -> float:
        """Return the value over clients."""
        return self.combined(sum(map(self.summand, values)), len(values))

    def best(self, values: Mapping[str, float]) -> str | None:
        """Return the key of the best finite value, the first of equal ones; None without any or without direction."""
        finite = {key: value for key, value in values.items() if math.isfinite(value)}
        if self.better is None or not finite:
            return None
        return (max if self.better == "higher" else min)(finite, key=finite.__getitem__)


def _cost(what: str, unit: str, text: str) -> Metric:
    role: Role = "cost" if text else "detail"
    return Metric(
        f"cost/{what}", unit, better="lower", over_clients="sum", over_rounds="sum", role=role, text=text
    )  # fmt: skip


BYTES = (_cost("bytes_up", "bytes", "up"), _cost("bytes_down", "bytes", "down"))
"""What the scheme sends."""
CHANNEL_USES = (_cost("channel_uses", "channel uses", "channel uses"),)
COSTS = (
    *BYTES,
    *CHANNEL_USES,
    _cost("channel_uses_down", "channel uses", ""),
    _cost("simulation_bytes_up", "bytes", "simulated"),
    _cost("simulation_bytes_down", "bytes", "simulated"),
    _cost("evaluation_bytes_up", "bytes", ""),
    _cost("evaluation_bytes_down", "bytes", ""),
    _cost("evaluation_channel_uses", "channel uses", ""),
    _cost("evaluation_channel_uses_down", "channel uses", ""),
)
"""See `semfed.flower.server.accounts`. Costs of one text stand in one column of the table, added up."""
VALIDATION = "validation"
"""First part of the name of what is measured on a validation split, ``validation/accuracy/average``."""
VALIDATION_COSTS = tuple(
    _cost(f"validation_{what}", unit, "")
    for what, unit in (("bytes_up", "bytes"), ("channel_uses", "channel uses"), ("channel_uses_down", "channel uses"))
)
"""Of the validation alone; the model that it needs has come down for the test."""
FAILURE = Metric("failure", better="lower", over_clients="sum", over_rounds="sum", role="detail")
"""``failure/<phase>``: a client without a usable reply, with the reason as a note."""
FRAMEWORK = (
    Metric("loss", better="lower", role="loss"),  # Flower's evaluate returns one, in the unit of the client
    *COSTS,
    FAILURE,
    Metric("retry", better="lower", over_clients="sum", over_rounds="sum", role="detail"),
    Metric("privacy/epsilon", better="lower", over_clients="none", role="detail"),
)
"""What is recorded whatever learner and strategy report."""


class Metrics:
    """The declarations of a run, by recorded names.

    Parameters
    ----------
    declared : iterable of Metric

    Raises
    ------
    ScenarioError
        If two declarations have one name and differ.
    """

    def __init__(self, declared: Iterable[Metric]) -> None:
        self._declared: dict[str, Metric] = {}
        for metric in declared:
            known = self._declared.setdefault(metric.name, metric)
            if known != metric:
                one, other = asdict(known), asdict(metric)
                ways = " and ".join(f"{key} = {one[key]!r} or {other[key]!r}" for key in one if one[key] != other[key])
                raise ScenarioError(
                    f"metric {metric.name!r} is declared in two ways, with {ways}: rename one, or run these arms apart"
                )
        self._families = [
            (re.compile(re.escape(name).replace(re.escape(NUMBER), "([-+.0-9e]+|-?inf)")), metric)
            for name, metric in self._declared.items()
            if NUMBER in name
        ]
        self._found: dict[str, Metric | None] = {}
        self._plain: dict[str, Metric] = {}

    def __iter__(self) -> Iterator[Metric]:
        """Give the declarations in order."""
        return iter(self._declared.values())

    def find(self, recorded: str) -> Metric | None:
        """Return the declaration of a recorded name, the one with most parts; None if there is none."""
        if recorded not in self._found:
            parts = recorded.split("/")
            names = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
            self._found[recorded] = next(filter(None, map(self._named, names)), None)
        return self._found[recorded]

    def of(self, recorded: str) -> Metric:
        """Return the same, for an undeclared name a plain number: without direction, no fraction, mean over clients."""
        found = self.find(recorded)
        if found is None:
            name = recorded.partition("/")[0] or recorded
            found = self._plain.setdefault(name, Metric(name, role="detail"))
        return found

    def require(self, recorded: str, by: type) -> Metric:
        """Return the declaration of what a learner or strategy reports.

        A class that declares nothing at all, such as a stock client of Flower's, may report what it likes; see `of`.

        Raises
        ------
        FederationError
            If it declares metrics, but not this one.
        """
        if self.find(recorded) is None and declared_by(by) is not None:
            raise FederationError(
                f"{by.__name__} reports {recorded!r}, which it does not declare: add "
                f"Metric({recorded.partition('/')[0]!r}, ...) to its class attribute `metrics`"
            )
        return self.of(recorded)

    def number(self, recorded: str) -> float:
        """Return the number in the name of a member of a family."""
        return next(float(m[1]) for pattern, _ in self._families if (m := pattern.match(recorded)))

    def to_table(self) -> dict[str, dict[str, Any]]:
        """Return the declarations as values that JSON can hold, by their names."""
        return {metric.name: {k: v for k, v in asdict(metric).items() if k != "name"} for metric in self}

    @classmethod
    def from_table(cls, table: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read what `to_table` returned.

        Raises
        ------
        ValueError
            If it is no such table.
        """
        adapter = TypeAdapter(Metric)
        return cls(adapter.validate_python({"name": name, **fields}) for name, fields in table.items())

    def _named(self, name: str) -> Metric | None:
        return self._declared.get(name) or next((m for pattern, m in self._families if pattern.fullmatch(name)), None)


def declared_by(part: type) -> tuple[Metric, ...] | None:
    """Return what a class and its bases declare; a class overrules its bases. None if nobody declares anything."""
    own: dict[str, Metric] | None = None
    for base in reversed(part.__mro__):
        told = vars(base).get("metrics")
        if isinstance(told, tuple) and all(isinstance(metric, Metric) for metric in told):
            own = (own or {}) | {metric.name: metric for metric in told}
    return None if own is None else tuple(own.values())


def on_validation(metric: Metric) -> Metric:
    """Return the declaration of a test's metric on the validation split: kept, but shown in no table or figure."""
    role: Role = "loss" if metric.role == "loss" else "detail"
    text = f"{VALIDATION} {metric.words}"
    return replace(metric, name=f"{VALIDATION}/{metric.name}", text=text, role=role, against="")


def asked_for(scenario: "Scenario") -> tuple[Metric, ...]:
    """Return the declarations of a scenario's own ``metrics``."""
    return tuple(choice.load().declared(choice.settings) for choice in scenario.metrics or ())


def with_asked(score: str, scenario: "Scenario", parts: Iterable[str]) -> tuple[str, ...]:
    """Return the recorded names of a learner's score and of the scenario's own ``metrics``, each for all parts."""
    names, each = (score, *(metric.name for metric in asked_for(scenario))), tuple(parts)
    return tuple(f"{name}/{part}" for name in names for part in each)


def _of_learner(arm: "Scenario") -> tuple[Metric, ...]:
    """Return what the learner of an arm declares, and what the arm asks for beside it."""
    own = declared_by(arm.learner.load()) or ()
    taken = {metric.name for metric in (*FRAMEWORK, *own, *(declared_by(arm.strategy.load()) or ()))}
    for metric in asked_for(arm):
        if metric.name in taken:
            raise ScenarioError(
                f"metrics: {metric.name!r} is another metric of the scenario, of learner {arm.learner.name!r} or of "
                f"strategy {arm.strategy.name!r}: give it a name of its own with called = '...'"
            )
        taken.add(metric.name)
        own += (metric,)
    return own


def declared_in(*arms: "Scenario") -> Metrics:
    """Return what learners, strategies and the framework declare for complete scenarios, those of a run's arms.

    With a validation split, all that a learner declares is measured there, too; see `on_validation`.

    Raises
    ------
    ScenarioError
        If two arms, or a scenario's ``metrics`` and its parts, mean different things by one name.
    """
    each = []
    for arm in arms:
        learners = _of_learner(arm)
        parts = (FRAMEWORK, declared_by(arm.strategy.load()) or (), learners)
        each += list({metric.name: metric for part in parts for metric in part}.values())
        if arm.data.validation is not None:
            loss = next(metric for metric in FRAMEWORK if metric.role == "loss")
            tested = {metric.name: metric for metric in (loss, *learners)}
            each += [*VALIDATION_COSTS, *map(on_validation, tested.values())]
    return Metrics(each)
