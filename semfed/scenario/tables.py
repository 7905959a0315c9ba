"""The tables of a scenario that are no choice of one part: data, tasks, clients, models, the local loop."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from semfed.scenario.choices import ModelChoice, PartitionChoice, SourceChoice
from semfed.scenario.kinds import TaskKind
from semfed.scenario.schedule import Schedule
from semfed.scenario.settings import Decibel, StrictModel, only_when

Label = int | str


class DataSettings(StrictModel):
    """Where images come from and who gets which."""

    source: SourceChoice
    """The data set."""
    partition: PartitionChoice
    """The rule by which its training images are dealt to the clients."""
    download: bool = False
    """Whether a missing data set may be fetched from its publisher."""
    mean: tuple[float, ...] | None = None
    """Per channel, of images scaled to [0, 1]; the source's own statistics if unset."""
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Like ``mean``: standard deviations, by which images are divided."""
    validation: Annotated[int, Field(strict=True, ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = None
    """Training images of every client, a share or a number of them, on which it never trains: after every test they
    are scored by the same code, as ``validation/<metric>``, for choices that must not look at the test set."""

    def idle(self, scenario: Any, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        if not getattr(self.source.load(), "downloads", True):
            yield f"{here}.download", f"data source '{self.source.name}' has nothing to download"


class Task(StrictModel):
    """What a receiver is to find out: a semantic variable, that is which classes make which of its values, or more."""

    kind: TaskKind = "classification"
    """``classification`` decides the values below, ``reconstruction`` wants the image itself, and ``regression``
    estimates the real number that ``target`` names; the last two look at no class."""
    values: Annotated[
        tuple[Label, ...] | dict[str, tuple[Label, ...]],
        only_when(kind="classification"),
    ] = ()
    """Classes that are values of their own, or a table from a value's name to its classes."""
    rest: Annotated[str | None, only_when(kind="classification")] = None
    """Name of the value that all other classes have (the complement); without it, they may not occur."""
    missing: Annotated[Literal["refuse", "allow"], only_when(kind="classification")] = "refuse"
    """Whether a client whose learner compares label statistics may lack samples of a named value: its pmf is 0 there,
    and it has to tell that value without ever having seen it."""

    target: Annotated[str, only_when(kind="regression")] = ""
    """Name of the real number of every image, among those that the data set has."""
    centre: Annotated[float, only_when(kind="regression")] = 0.0
    """What networks take for zero: they estimate (target - centre) / scale, which is best between -1 and 1."""
    scale: Annotated[float, only_when(kind="regression")] = Field(default=1.0, gt=0)
    """What networks take for one; metrics are in the target's own unit, whatever is said here."""

    @property
    def named(self) -> dict[str, tuple[Label, ...]]:
        """The named values and their classes, in order."""
        if isinstance(self.values, dict):
            return self.values
        return {str(label): (label,) for label in self.values}

    @property
    def symbols(self) -> tuple[str, ...]:
        """All values in the order of their labels, the complement, if any, first; none where nothing is decided."""
        return tuple(self.named) if self.rest is None else (self.rest, *self.named)

    def __hash__(self) -> int:
        """Let a task be part of a key: a table of values, which has no hash, is told by its length."""
        return hash((self.kind, len(self.values), self.rest, self.missing, self.target, self.centre, self.scale))

    @property
    def size(self) -> int:
        """How many values it has."""
        return len(self.symbols)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if self.kind == "regression" and not self.target:
            raise ValueError("a task of regression estimates a real number of the data set: set target to its name")
        if self.kind != "classification":
            return self
        if not self.named:
            raise ValueError("a task needs at least one named value: set values, or another kind")
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
    """Of the client, in tables, figures and overrides."""
    task: str
    """Which of the scenario's tasks it decides."""
    encoder: ModelChoice | None = None
    """An architecture of its own, where the strategy allows that."""
    snr_db: Decibel | None = None
    """The SNR of its channel, instead of ``channel.snr_db``."""

    def idle(self, scenario: Any, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        if not getattr(scenario.learner.load(), "sends_encoded", False):
            yield f"{here}.snr_db", f"learner '{scenario.learner.name}' has no SNR a client"

    def check(self, scenario: Any) -> None:
        """Refuse an SNR where the channel has none."""
        if self.snr_db is not None and "snr_db" not in type(scenario.channel.settings).model_fields:
            raise ValueError(
                f"clients.{self.name}.snr_db: channel '{scenario.channel.name}' has no snr_db; leave it out"
            )


class ModelSettings(StrictModel):
    """The networks on both sides of the channel."""

    encoder: ModelChoice
    """From an image to the channel's symbols."""
    decoder: ModelChoice
    """From what is received to the decision."""
    snr_input: Literal["encoder", "decoder", "both"] | None = None
    """Which of them is told every sample's SNR, beside its input, by an attention module where it meets the channel;
    none if unset."""

    def hears(self, part: str) -> bool:
        """Whether the encoder, or the decoder, is told the SNR."""
        return self.snr_input in (part, "both")

    def idle(self, scenario: Any, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        channel = scenario.channel.settings
        if not getattr(channel, "snr_spread_db", 0) and len({client.snr_db for client in scenario.clients}) == 1:
            yield f"{here}.snr_input", "clients train at one SNR alone, so it tells nothing: set channel.snr_spread_db"

    def check(self, scenario: Any) -> None:
        """Refuse to tell an SNR where there is none, or to networks of learners that cannot be told."""
        if self.snr_input is None:
            return
        if getattr(scenario.channel.settings, "snr_db", None) is None:
            raise ValueError(
                f"model.snr_input = {self.snr_input!r}: channel {scenario.channel.name!r} has no snr_db to tell; leave "
                "it out"
            )
        if not getattr(scenario.learner.load(), "hears_snr", False):
            raise ValueError(
                f"model.snr_input = {self.snr_input!r}: the networks of learner {scenario.learner.name!r} cannot be "
                "told the SNR; leave it out, or take learner 'joint' or 'multitask'"
            )


class TrainingSettings(StrictModel):
    """The local loop."""

    epochs: int = Field(default=1, ge=1, le=100_000)
    """Passes over the own images in a round."""
    batch_size: int = Field(default=100, ge=1)
    """Images a minibatch."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """Of the clients."""
    lr: float = Field(default=0.01, gt=0, title="learning rate")
    """Step size."""
    momentum: Annotated[float, only_when(optimizer="sgd")] = Field(default=0.0, ge=0, lt=1)
    """Of SGD; 0 for none."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 penalty: adds to the gradient, for ``adamw`` it shrinks the weights apart from it, as in torch; 0 for none."""
    clip_grad_norm: float | None = Field(default=None, gt=0)
    """``max_norm`` of ``torch.nn.utils.clip_grad_norm_``, over all that one optimiser trains; no clipping if unset."""
    schedule: Schedule | None = None
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

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.optimizer == "adamw" and not self.weight_decay:
            raise ValueError(
                "optimizer 'adamw' with weight_decay = 0 is 'adam': set weight_decay, which is 0.01 in torch, or take "
                "'adam'"
            )
        if self.schedule is not None and self.schedule.eta_min >= self.lr:
            raise ValueError(f"schedule.eta_min = {self.schedule.eta_min:g} is not below lr = {self.lr:g}: lower it")
        return self

    def idle(self, scenario: Any, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        if self.optimizer == "sgd" and not self.momentum:
            yield f"{here}.optimizer_state", "SGD without momentum has no moments to keep"

    @property
    def plain_sgd(self) -> bool:
        """Whether a step subtracts ``lr`` times the gradient, and that is all."""
        return self.optimizer == "sgd" and not (self.momentum or self.weight_decay or self.clip_grad_norm)

    def in_round(self, round_: int, rounds: int) -> Self:
        """Return the settings of one of so many rounds: with its learning rate, and without a schedule."""
        if self.schedule is None:
            return self
        return self.model_copy(update={"lr": self.schedule.lr(self.lr, round_, rounds), "schedule": None})
