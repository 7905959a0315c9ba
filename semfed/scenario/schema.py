"""What an experiment is: one TOML file, validated strictly before anything runs.

A scenario names data, tasks, partition, clients, model, training, channel and strategy once, and ``[[arms]]`` says
what the variants to compare change. `Scenario.arm` gives the complete scenario of one variant.
"""

import hashlib
import json
from collections import Counter
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from semfed.errors import ScenarioError
from semfed.scenario.arms import Arm, FileName, Sweep, merge
from semfed.scenario.choices import ChannelChoice, LearnerChoice, MetricChoice, StrategyChoice
from semfed.scenario.kinds import require_kinds
from semfed.scenario.privacy import Privacy
from semfed.scenario.settings import StrictModel, explain, only_when, suggest, tables
from semfed.scenario.stopping import Stopping
from semfed.scenario.tables import ClientSpec, DataSettings, ModelSettings, Task, TrainingSettings

MOST_SEEDS, MOST_CLIENTS, LARGEST = 10_000, 1_000_000, 2**63 - 1
NOT_OF_AN_ARM = ("arms", "sweep", "headline")
SAME_FOR_ALL_ARMS = ("seeds", "description", "headline")


class Scenario(StrictModel):
    """One experiment, complete and checked."""

    name: FileName
    """Of the scenario; run folders are called by it."""
    description: str = ""
    """One line for ``semfed list`` and for whoever opens the file."""
    rounds: int = Field(ge=1, le=10_000_000)
    """Rounds of every arm with every seed."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1, max_length=MOST_SEEDS)
    """Every arm runs once with each of them. All that is random follows from the seed, in every arm alike."""
    headline: str = ""
    """The metric by which arms are compared: tables, figures and the display of progress show it. Unset, it is the one
    that is customary with the learner, such as ``accuracy/average``; a client that declares none has its loss."""
    timeout_s: float = Field(default=3600.0, gt=0)
    """How long the server waits for the replies to one message a client; ``inprocess`` does not wait."""
    on_client_failure: Literal["fail", "skip", "retry"] = "skip"
    """A client that raises, or does not answer in time, ends the run, is left out, or is asked again."""
    retries: Annotated[int, only_when(on_client_failure="retry")] = Field(default=2, ge=1)
    """How often ``retry`` asks again; who then has not answered is left out."""
    checkpoint_every: int = Field(default=1, ge=0)
    """Rounds from one checkpoint to the next; with 0 a resumed run begins unfinished arms anew."""
    keep_models: Literal["final", "best", "none"] = "final"
    """Which networks the run folder keeps, private ones of every client included, so that `semfed.load` can hand them
    out, some kilobytes to megabytes a client: those that a trial ends with, those of its best round on the validation
    split, or none. No client gives any away where ``[privacy]`` protects what it tells."""
    data: DataSettings
    """Images, and who gets which."""
    tasks: dict[str, Task] = Field(min_length=1)
    """What is to be decided, by the tasks' names."""
    metrics: tuple[MetricChoice, ...] | None = Field(default=None, min_length=1)
    """Further scores of the decisions in every test, such as torchmetrics' by their names; unset, those that the
    learner has of its own."""
    clients: tuple[ClientSpec, ...] = Field(min_length=1)
    """Who takes part: one table a client, or one table with ``count`` and what all of them have in common."""
    model: ModelSettings
    """Networks on both sides of the channel."""
    channel: ChannelChoice
    """What is between encoder and decoder."""
    training: TrainingSettings
    """How a client trains in a round."""
    stop: Stopping | None = None
    privacy: Privacy = Privacy()
    """What clients protect; nothing by default."""
    learner: LearnerChoice
    """The class of all clients."""
    strategy: StrategyChoice
    """What clients exchange, and what the server makes of it."""
    arms: tuple[Arm, ...] = ()
    """Variants to compare; without any there is one, called like the scenario."""
    sweep: Sweep | None = None
    """Settings and the values that every arm runs with; in a resolved scenario, what has become of that."""
    _arms: "tuple[Scenario, ...]" = PrivateAttr(())
    """The arms' complete scenarios, made whenever a scenario is validated, so for every copy with other values too."""

    @field_validator("headline")
    @classmethod
    def _is_a_metric(cls, value: str) -> str:
        quantity, slash, part = value.partition("/")
        if value and not (quantity and slash and part and "/" not in part):
            raise ValueError("write the metric as the history does, such as 'accuracy/average'")
        return value

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
        if self.sweep is not None and list(self.sweep.points()) != [arm.name for arm in self.arms]:
            raise ValueError(
                "sweep: its arms and values make other arms than there are; write [sweep] setting = values"
            )
        self._arms = tuple(self._resolve(arm) for arm in self.arms)
        if not self.arms:
            require_kinds(self)
        for _, table in () if self.arms else tables(self):
            check = getattr(table, "check", None)
            if check is not None:
                check(self)
        if not self.arms and self.keep_models == "best" and self.data.validation is None:
            raise ValueError(
                "keep_models = 'best': there is no validation split to judge rounds by, and the test set is none; set "
                "data.validation, such as 0.1, or take 'final'"
            )
        self._choose_headline()
        return self

    def _resolve(self, arm: Arm) -> "Scenario":
        """Make the complete scenario of an arm; what it does not change, it shares with this one."""
        for key in SAME_FOR_ALL_ARMS:
            if key in arm.changes:
                raise ValueError(f"arms.{arm.name}.{key}: it is the same for all arms; say it outside of them")
        around = {key: getattr(self, key) for key in type(self).model_fields if key not in NOT_OF_AN_ARM}
        unknown = [key for key in arm.changes if key not in around]
        if unknown:
            raise ValueError(f"arms.{arm.name}.{unknown[0]}: unknown setting; {suggest(unknown[0], around)}")
        changed = merge(self.tree(only=set(arm.changes)), arm.changes)
        try:
            return Scenario.model_validate(around | changed)
        except ValidationError as error:
            lines = (f"arms.{arm.name}: {line}" for line in explain(error).split("\n"))
            raise ValueError("; ".join(lines)) from error

    def _choose_headline(self) -> None:
        """Fill the headline in where it is unset, with what all arms measure if possible; refuse what none measures.

        A learner of another kind than ours need not say what it measures.
        """
        arms = self._arms or (self,)
        named = [(arm, getattr(arm.learner.load(), "headlines", None)) for arm in arms]
        measured = [list(told(arm)) for arm, told in named if told is not None]
        some = list(dict.fromkeys(metric for own in measured for metric in own)) or ["loss/average"]  # Flower's own
        if not self.headline:
            everywhere = [metric for metric in some if all(metric in own for own in measured)]
            object.__setattr__(self, "headline", [*everywhere, *some][0])
            self.model_fields_set.discard("headline")  # an empty one has not been chosen
        elif len(measured) == len(arms) and self.headline not in some:
            learners = " and ".join(dict.fromkeys(repr(arm.learner.name) for arm in arms))
            raise ValueError(
                f"headline = {self.headline!r} is not measured by learner {learners}; choose one of "
                + ", ".join(map(repr, some))
            )

    @property
    def keeps_models(self) -> bool:
        """Whether clients hand their networks out."""
        return self.keep_models != "none" and self.privacy.labels is None and self.privacy.updates is None

    def arm(self, name: str) -> "Scenario":
        """Return the complete scenario of one arm.

        Raises
        ------
        ScenarioError
            If there is no such arm.
        """
        if not self.arms and name == self.name:
            return self
        for arm, complete in zip(self.arms, self._arms, strict=True):
            if arm.name == name:
                return complete
        raise ScenarioError(f"scenario {self.name!r} has no arm {name!r}; {suggest(name, self.arm_names)}")

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Names of the arms in the scenario's order; a scenario without arms has one, called like itself."""
        return tuple(arm.name for arm in self.arms) or (self.name,)

    def tree(self, only: set[str] | None = None) -> dict[str, Any]:
        """Return the scenario as plain tables with every default in place; what is unset is left out.

        Parameters
        ----------
        only : set of str, optional
            Which of the outermost settings; all of them if left out.
        """
        tables: dict[str, Any] = _without_none(self.model_dump(mode="json", include=only))
        return tables

    def draft(self) -> dict[str, Any]:
        """Return `tree` to be changed: a headline that nobody has chosen is left to follow from the arms again."""
        return self.tree(set(type(self).model_fields) - ({"headline"} - self.model_fields_set))

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
