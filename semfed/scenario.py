"""What an experiment is: one TOML file, validated strictly before anything runs.

A scenario names data, tasks, partition, clients, model, training, channel and strategy once, and ``[[arms]]`` says
what the variants to compare change. `Scenario.arm` gives the complete scenario of one variant.
"""

import hashlib
import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from semfed.errors import ScenarioError
from semfed.partitions import CountsPartition, PartitionChoice
from semfed.paths import as_path
from semfed.plugins import Plugin, parse
from semfed.privacy import Privacy
from semfed.settings import StrictModel, explain, only_when, suggest, tables

Label = int | str
MOST_SEEDS, MOST_CLIENTS, LARGEST = 10_000, 1_000_000, 2**63 - 1
_dump = PlainSerializer(Plugin.dump)
SourceChoice = Annotated[Plugin, PlainValidator(partial(parse, "datasets")), _dump]
LatentsChoice = Annotated[Plugin, PlainValidator(partial(parse, "latents")), _dump]
ModelChoice = Annotated[Plugin, PlainValidator(partial(parse, "models")), _dump]
ChannelChoice = Annotated[Plugin, PlainValidator(partial(parse, "channels")), _dump]
LearnerChoice = Annotated[Plugin, PlainValidator(partial(parse, "clients")), _dump]
StrategyChoice = Annotated[Plugin, PlainValidator(partial(parse, "strategies")), _dump]


class DataSettings(StrictModel):
    """Where images come from and who gets which."""

    source: SourceChoice
    partition: PartitionChoice
    download: bool = False
    """Whether a missing data set may be fetched from its publisher."""
    mean: tuple[float, ...] | None = None
    """Per channel, of images scaled to [0, 1]; the source's own statistics if unset."""
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None

    def idle(self, scenario: "Scenario", here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.effects`."""
        if not getattr(self.source.load(), "downloads", True):
            yield f"{here}.download", f"data source '{self.source.name}' has nothing to download"


class Task(StrictModel):
    """A semantic variable: which classes of the data set make which of its values."""

    values: tuple[Label, ...] | dict[str, tuple[Label, ...]]
    """Classes that are values of their own, or a table from a value's name to its classes."""
    rest: str | None = None
    """Name of the value that all other classes have (the complement); without it, they may not occur."""
    missing: Literal["refuse", "allow"] = "refuse"
    """Whether a client whose learner compares label statistics may lack samples of a named value: its pmf is 0 there,
    and it has to tell that value without ever having seen it."""

    @property
    def named(self) -> dict[str, tuple[Label, ...]]:
        """The named values and their classes, in order."""
        if isinstance(self.values, dict):
            return self.values
        return {str(label): (label,) for label in self.values}

    @property
    def symbols(self) -> tuple[str, ...]:
        """All values in the order of their labels: the complement is label 0 where there is one."""
        return tuple(self.named) if self.rest is None else (self.rest, *self.named)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if not self.named:
            raise ValueError("a task needs at least one named value")
        if self.rest in self.named:
            raise ValueError(f"{self.rest!r} is both a named value and the rest; rename one")
        groups = self.values.values() if isinstance(self.values, dict) else [self.values]
        labels = [str(label) for group in groups for label in group]
        if len(set(labels)) < len(labels):
            raise ValueError("a class belongs to two values; every class can have one value only")
        if len(self.symbols) < 2:
            raise ValueError("a task with a single value has nothing to decide; name a second value or a rest")
        return self


class ClientSpec(StrictModel):
    """One client: a satellite, a phone, a user."""

    name: str
    task: str
    encoder: ModelChoice | None = None
    """An architecture of its own, where the strategy allows that."""


class ModelSettings(StrictModel):
    """The networks on both sides of the channel."""

    encoder: ModelChoice
    decoder: ModelChoice


class TrainingSettings(StrictModel):
    """The local loop."""

    epochs: int = Field(default=1, ge=1, le=100_000)
    batch_size: int = Field(default=100, ge=1)
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = Field(default=0.01, gt=0)
    momentum: Annotated[float, only_when(optimizer="sgd")] = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    optimizer_state: Literal["fresh", "kept"] = "fresh"
    """What a local optimiser knows when a round begins, at every learner and, for split training, at the server's
    half: nothing, or its own moments of the rounds before, which never leave it."""
    device: str = "auto"
    """``auto`` takes a GPU where there is one."""

    @field_validator("device")
    @classmethod
    def _known(cls, value: str) -> str:
        if value == "mps":
            raise ValueError("Apple's GPUs are not supported, since they have no float64; take 'cpu' or 'auto'")
        if re.fullmatch(r"auto|cpu|cuda(:\d+)?", value) is None:
            raise ValueError("no such device; take 'auto', 'cpu', 'cuda' or 'cuda:0'")
        return value

    def idle(self, scenario: "Scenario", here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.effects`."""
        if self.optimizer == "sgd" and not self.momentum:
            yield f"{here}.optimizer_state", "SGD without momentum has no moments to keep"

    @property
    def plain_sgd(self) -> bool:
        """Whether a step subtracts ``lr`` times the gradient, and that is all."""
        return self.optimizer == "sgd" and not self.momentum and not self.weight_decay


def _file_name(value: str) -> str:
    """Insist on a name that can be part of a file's name anywhere."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@+-]*", value) is None:
        raise ValueError("files are called by it: use the letters A to Z, digits and _ . @ + - after the first")
    return value


FileName = Annotated[str, AfterValidator(_file_name)]


class Arm(StrictModel):
    """A variant: its name, and the tables in which it differs from the scenario around it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: FileName

    @property
    def changes(self) -> dict[str, Any]:
        """The tables that this arm replaces or amends."""
        return dict(self.model_extra or {})


class Sweep(StrictModel):
    """What ``--sweep`` made of the arms: every one of `arms` occurs with every value, as ``<arm>@<value>``."""

    setting: str
    values: tuple[Annotated[float, Field(allow_inf_nan=True)] | str, ...]
    arms: tuple[str, ...]


class Scenario(StrictModel):
    """One experiment, complete and checked."""

    name: FileName
    description: str = ""
    rounds: int = Field(ge=1, le=10_000_000)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1, max_length=MOST_SEEDS)
    headline: str = Field(default="", pattern=r"^([^/]+/[^/]+)?$")
    """The metric, a fraction, by which arms are compared: tables, figures and the display of progress show it. Unset,
    it is the one that is customary with the learner, such as ``accuracy/average``."""
    timeout_s: float = Field(default=3600.0, gt=0)
    """How long the server waits for the replies to one message a client; ``inprocess`` does not wait."""
    on_client_failure: Literal["fail", "skip", "retry"] = "skip"
    """A client that raises, or does not answer in time, ends the run, is left out, or is asked again."""
    retries: Annotated[int, only_when(on_client_failure="retry")] = Field(default=2, ge=1)
    """How often ``retry`` asks again; who then has not answered is left out."""
    checkpoint_every: int = Field(default=1, ge=0)
    """Rounds from one checkpoint to the next; with 0 a resumed run begins unfinished arms anew."""
    data: DataSettings
    tasks: dict[str, Task] = Field(min_length=1)
    clients: tuple[ClientSpec, ...] = Field(min_length=1)
    model: ModelSettings
    channel: ChannelChoice
    training: TrainingSettings
    privacy: Privacy = Privacy()
    learner: LearnerChoice
    strategy: StrategyChoice
    arms: tuple[Arm, ...] = ()
    sweep: Sweep | None = None

    @field_validator("clients", mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        """Let ``[clients]`` with a count stand for that many equal clients."""
        if not isinstance(value, dict):
            return value
        table = dict(value)
        count, prefix = table.pop("count", None), table.pop("name", "client")
        if not isinstance(count, int) or not 1 <= count <= MOST_CLIENTS:
            raise PydanticCustomError(
                "count",
                "give [clients] a count from 1 to {most}, or write [[clients]] one by one",
                {"most": MOST_CLIENTS},
            )
        return [{"name": f"{prefix} {k + 1}", **table} for k in range(count)]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for kind, names in (
            ("seeds", self.seeds),
            ("client name", [c.name for c in self.clients]),
            ("arm name", [a.name for a in self.arms]),
        ):
            twice = [name for name, times in Counter(names).items() if times > 1]
            if twice:
                raise ValueError(f"{kind} {twice[0]!r} occurs twice; make it unique")
        for client in self.clients:
            if client.task not in self.tasks:
                raise ValueError(
                    f"client {client.name!r} has the unknown task {client.task!r}; {suggest(client.task, self.tasks)}"
                )
        split = self.data.partition
        if isinstance(split, CountsPartition) and len(split.counts) != len(self.clients):
            raise ValueError(
                f"data.partition.counts has {len(split.counts)} rows for {len(self.clients)} clients; "
                "give one row a client"
            )
        for _, table in () if self.arms else tables(self):
            check = getattr(table, "check", None)
            if check is not None:
                check(self)
        self._choose_headline([self.arm(arm.name) for arm in self.arms] or [self])
        return self

    def _choose_headline(self, arms: "list[Scenario]") -> None:
        """Fill the headline in where it is unset, with what all arms measure if possible; refuse what none measures.

        A learner of another kind than ours need not say what it measures.
        """
        named = [(arm, getattr(arm.learner.load(), "headlines", None)) for arm in arms]
        measured = [list(told(arm)) for arm, told in named if told is not None]
        some = list(dict.fromkeys(metric for own in measured for metric in own))
        if not self.headline:
            everywhere = [metric for metric in some if all(metric in own for own in measured)]
            object.__setattr__(self, "headline", [*everywhere, *some, "accuracy/average"][0])
        elif len(measured) == len(arms) and self.headline not in some:
            learners = " and ".join(dict.fromkeys(repr(arm.learner.name) for arm in arms))
            raise ValueError(
                f"headline = {self.headline!r} is not measured by learner {learners}; choose one of "
                + ", ".join(map(repr, some))
            )

    def arm(self, name: str) -> "Scenario":
        """Return the complete scenario of one arm.

        Raises
        ------
        ScenarioError
            If there is no such arm.
        """
        if not self.arms and name == self.name:
            return self
        for arm in self.arms:
            if arm.name == name:
                base = {key: value for key, value in self.tree().items() if key not in ("arms", "sweep", "headline")}
                for key in ("seeds", "description", "headline"):
                    if key in arm.changes:
                        raise ValueError(f"arms.{name}.{key}: it is the same for all arms; say it outside of them")
                unknown = [key for key in arm.changes if key not in base]
                if unknown:
                    raise ValueError(f"arms.{name}.{unknown[0]}: unknown setting; {suggest(unknown[0], base)}")
                try:
                    return Scenario.model_validate(merge(base, arm.changes))
                except ValidationError as error:
                    raise ValueError(
                        "; ".join(f"arms.{name}: {line}" for line in explain(error).split("\n"))
                    ) from error
        raise ScenarioError(f"scenario {self.name!r} has no arm {name!r}; {suggest(name, self.arm_names)}")

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Names of the arms in the scenario's order; a scenario without arms has one, called like itself."""
        return tuple(arm.name for arm in self.arms) or (self.name,)

    def tree(self) -> dict[str, Any]:
        """Return the scenario as plain tables with every default in place; what is unset is left out."""
        tables: dict[str, Any] = _without_none(self.model_dump(mode="json"))
        return tables

    def to_toml(self) -> str:
        """Write the scenario with every default in place; reading it again gives an equal scenario."""
        return tomli_w.dumps(self.tree())

    @property
    def digest(self) -> str:
        """SHA-256 over the resolved scenario: two equal digests mean the same experiment."""
        text = json.dumps(self.tree(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay changes over a tree of tables. A table that names another plugin replaces the old one altogether.

    Examples
    --------
    >>> merge({"channel": {"name": "awgn", "snr_db": 3}}, {"channel": {"snr_db": 5}})
    {'channel': {'name': 'awgn', 'snr_db': 5}}
    >>> merge({"channel": {"name": "awgn", "snr_db": 3}}, {"channel": {"name": "rayleigh"}})
    {'channel': {'name': 'rayleigh'}}
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and value.get("name") in (None, old.get("name")):
            merged[key] = merge(old, value)
        elif isinstance(value, str) and isinstance(old, Mapping) and "name" in old:
            merged[key] = old if value == old["name"] else {"name": value}
        else:
            merged[key] = value
    return merged


def built_in() -> dict[str, Path]:
    """Return the scenarios that come with the package: name to TOML file."""
    root = Path(str(files("semfed.scenarios")))
    return {path.parent.name: path for path in sorted(root.glob("*/scenario.toml"))}


def locate(name: str | Path) -> Path:
    """Find the TOML file of a scenario given by a built-in's name, a folder or a file.

    Raises
    ------
    ScenarioError
        If there is neither.
    """
    path = as_path(name)
    for candidate in (path, path / "scenario.toml"):
        if os.path.isfile(candidate):  # Path.is_file raises for a name that is too long, or a closed folder
            return candidate
    names = built_in()
    if str(name) in names:
        return names[str(name)]
    raise ScenarioError(
        f"no scenario {str(name)!r}: not a file, not a folder with scenario.toml, not a built-in; "
        + suggest(str(name), names)
    )


def read(path: Path) -> dict[str, Any]:
    """Read a TOML file as it stands.

    Raises
    ------
    ScenarioError
        If it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors of Windows begin with a mark
    except (OSError, ValueError) as error:  # beside TOMLDecodeError: no UTF-8, or an integer of thousands of digits
        raise ScenarioError(f"{path}: cannot be read as TOML: {error}") from error
    except RecursionError as error:
        raise ScenarioError(f"{path}: cannot be read as TOML: tables or lists are nested too deeply") from error


def validate(tree: Mapping[str, Any]) -> Scenario:
    """Check a tree of tables and return the scenario.

    Raises
    ------
    ScenarioError
        With one line per problem, each naming the field, its value and the remedy.
    """
    if not tree:
        raise ScenarioError("the scenario is empty: copy one that `semfed list` names and change it")
    try:
        _refuse_large_integers(tree)
        return Scenario.model_validate(tree)
    except ValidationError as error:
        raise ScenarioError(explain(error)) from error
    except RecursionError as error:
        raise ScenarioError("the scenario has tables or lists that are nested too deeply: flatten them") from error


def _refuse_large_integers(value: Any, path: str = "") -> None:
    """Insist on TOML's own range, 64 bits with a sign: Python reads integers of any length."""
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise ScenarioError(f"{path.removeprefix('.')} is an integer of more than 63 bits: lower it")
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        _refuse_large_integers(item, f"{path}.{key}")
