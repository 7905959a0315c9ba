"""Cooperative multi-task transmitters: a common unit (CU) for all tasks, then a specific unit (SU) for each.

The strategy sees the CU only; specific units, decoders and the CU's auxiliary decoders stay with their client. One
client alone is the system of "Semantic Communication for Cooperative Multi-Tasking Over Rate-Limited Wireless
Channels With Implicit Optimal Prior", sections II-B to II-D; several clients are our extension.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from semfed import models
from semfed.algorithms.bottleneck import specific_unit
from semfed.algorithms.bottleneck.specific_unit import Link, RateSettings
from semfed.channels import Meter
from semfed.checkpoint.files import Arrays
from semfed.data import tasks
from semfed.errors import FederationError
from semfed.events.callbacks import array_digest
from semfed.events.metrics import Metric, asked_for, with_asked
from semfed.flower.client.base import BaseLearner
from semfed.flower.client.recent import Recent
from semfed.flower.client.session import Session
from semfed.flower.protocol import PROXIMAL_MU, proximal_mu
from semfed.models.layers.gaussian import draw
from semfed.models.stochastic import build_stochastic
from semfed.scenario import Scenario, Task
from semfed.scenario.choices import ModelChoice
from semfed.scenario.settings import suggest
from semfed.training import weights
from semfed.training.decisions import BALANCED_ACCURACY, F1, SCORES
from semfed.training.losses import logits_of
from semfed.training.objective import Networks
from semfed.training.system import Receivers, System, Transmission

from .common_cohort import train_ahead
from .common_unit import CommonUnit, CommonUnitSettings
from .cooperative_transmitter import Transmitter
from .label_statistics import label_statistics


class CooperativeClient(BaseLearner):
    """Trains a common unit with auxiliary decoders, then a specific unit and a decoder per task.

    A round of the second phase is ``training.epochs`` epochs of every specific unit. The task named by the client's
    entry in the scenario is the one whose label statistics clustering compares.
    """

    metrics = (
        Metric("error", better="lower", fraction=True, against="rate", baseline="majority class"),
        BALANCED_ACCURACY,
        F1,
        Metric("rate", "nats", better="lower", role="detail"),
        Metric("rate-lower", "nats", better="lower", role="detail"),
        Metric("rate-upper", "nats", better="lower", role="detail"),
        Metric("common_error", better="lower", fraction=True, role="detail"),
    )
    config_keys: ClassVar = {"fit": frozenset({PROXIMAL_MU})}
    validates = True

    class Settings(RateSettings):
        """Tasks, networks and objective."""

        tasks: tuple[str, ...] = Field(min_length=1)
        """What is decided at the receivers, one specific unit each."""
        auxiliary: ModelChoice
        """Decoder of c, one per task, with which the common unit is trained."""
        specific: ModelChoice
        """Trunk of a specific unit; its heads have one number per channel use."""
        heads: Literal["bounded", "linear"] = "bounded"
        """Of the specific units; see `GaussianEncoder`. The common unit's are linear."""
        cu: bool = True
        """Without a common unit the specific units see the image; its rounds pass idle, so that epochs compare."""
        schedule: Literal["common-first", "interleaved"] = "common-first"
        """``interleaved`` trains the common unit in every round, before the specific units."""
        common: CommonUnitSettings = CommonUnitSettings()
        """How the common unit is trained."""
        rate_samples: int = Field(default=2000, ge=1)
        """Test images that estimate the rate."""

        def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
            """Tell what has no effect; see `semfed.scenario.effects`."""
            yield from super().idle(scenario, here)
            if not self.cu:
                for name in ("epochs", "lr", "outputs"):
                    yield f"{here}.common.{name}", "with cu = false there is no common unit"
            if self.schedule == "interleaved":
                yield f"{here}.common.rounds", "schedule 'interleaved' trains the common unit in every round"

        def check(self, scenario: Scenario) -> None:
            """Refuse settings that cannot work with the rest of the scenario."""
            for name in self.tasks:
                if name not in scenario.tasks:
                    raise ValueError(f"learner.tasks names the unknown task {name!r}; {suggest(name, scenario.tasks)}")
            if scenario.channel.settings.uses is None:
                raise ValueError("channel.uses is unset, but it decides how wide the specific units are: set it")
            if self.alpha == "channel" and not scenario.channel.settings.noise_std:
                raise ValueError(
                    "learner.alpha = 'channel' is a noise variance, which channel.snr_db = inf makes zero; "
                    "set channel.snr_db lower, or learner.alpha = 'paper'"
                )
            mu = getattr(scenario.strategy.settings, "proximal_mu", 0)
            if mu and not self.cu:
                raise ValueError(
                    f"strategy.proximal_mu = {mu} holds nothing back: learner.cu = false shares no network; set it to 0"
                )
            falling = scenario.training.schedule
            if self.cu and falling is not None and falling.eta_min >= self.common.lr:
                raise ValueError(
                    f"training.schedule.eta_min = {falling.eta_min:g} is not below learner.common.lr = "
                    f"{self.common.lr:g}, which falls with it: lower it"
                )
            if self.schedule == "common-first" and self.common.rounds >= scenario.rounds:
                raise ValueError(
                    f"learner.common.rounds = {self.common.rounds} leaves none of {scenario.rounds} rounds for the "
                    "specific units; set rounds higher"
                )

    @classmethod
    def headlines(cls, scenario: Scenario) -> tuple[str, ...]:
        """Return the errors, and the scenario's ``metrics``."""
        return with_asked("error", scenario, ("average", *scenario.learner.settings.tasks))

    @classmethod
    def judged(cls, scenario: Scenario) -> tuple[Task, ...]:
        """Return the receivers' tasks."""
        return tuple(scenario.tasks[name] for name in scenario.learner.settings.tasks)

    @classmethod
    def validated(cls, scenario: Scenario) -> tuple[str, ...]:
        """Leave the loss out where it is that of the common unit first and that of the specific units later."""
        together = scenario.learner.settings.schedule == "interleaved" or not scenario.learner.settings.cu
        return tuple(name for name in super().validated(scenario) if together or name != "loss/average")

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.settings: CooperativeClient.Settings = session.scenario.learner.settings
        self.tasks = {name: session.scenario.tasks[name] for name in self.settings.tasks}
        self.channel = session.scenario.channel.make().to(session.device)
        self.common = CommonUnit(session, self.tasks, self.settings.common, self.settings.auxiliary)

    @classmethod
    def shares_in(cls, scenario: Scenario, round_: int) -> bool:
        """Say whether the round trains the common unit."""
        return _trains_common(scenario.learner.settings, round_)

    # -- networks, with their initial weights; a client lives for one message -----------------------------------

    def _build_link(self, name: str) -> Link:
        session, settings = self.session, self.settings
        seed, client, width = session.trial.seed, session.client, int(self.channel.settings.width)
        shape = (settings.common.outputs,) if settings.cu else session.dataset.shape
        streams = {"trunk": (seed, f"specific/{name}", client), "heads": (seed, f"heads/{name}", client)}
        bounded = settings.heads == "bounded"
        encoder = build_stochastic(settings.specific, shape, width, bounded=bounded, **streams)
        outputs = logits_of(self.tasks[name])
        stream = (seed, f"decoder/{name}", client)
        decoder = models.build(session.scenario.model.decoder, (width,), outputs=outputs, stream=stream)
        return Link(encoder.to(session.device), self.channel, decoder.to(session.device))

    def _networks(self) -> Iterator[nn.Module]:
        """Make all networks that the client trains, one after the other."""
        yield from (self.common.network, self.common.build_auxiliary())
        for name in self.tasks:
            link = self._build_link(name)
            yield from (link.encoder, link.decoder)

    # -- what Flower calls ----------------------------------------------------------------------------------

    def shared(self) -> Arrays:
        """Return the initial common unit."""
        return weights.of(self.common.build())

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        """Tell label statistics and the trivial errors; see `label_statistics`."""
        self.require_minibatches(len(self._rows), self._networks())
        return label_statistics(self.session, self.tasks, "error")

    def fit(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[list[npt.NDArray[Any]], int, dict[str, Any]]:
        """Train what the round is for.

        Parameters
        ----------
        parameters : list of ndarray
            The common unit.
        config : dict
            ``server-round``: int; ``proximal-mu``: float, optional, holds the common unit back.

        Returns
        -------
        parameters : list of ndarray, float32
            The common unit: trained in its own rounds, unchanged bit for bit afterwards.
        num_examples : int
        metrics : dict
            ``train_loss/common`` or ``train_loss/<task>`` in nats, ``channel-uses`` of all transmissions.

        Raises
        ------
        FederationError
            If a proximal term is asked for and there is no common unit.
        """
        mu = proximal_mu(config)
        if mu and not self.settings.cu:
            raise FederationError(f"{PROXIMAL_MU!r} = {mu:g} holds nothing back: learner.cu = false shares no network")
        round_, unit, metrics = int(config["server-round"]), self._named(parameters), dict[str, Any]()
        if _trains_common(self.settings, round_):
            trained = self.common.train(unit, self._rows, round_, mu)
            unit, metrics["train_loss/common"] = trained.unit, trained.loss
            self.session.save("auxiliary", trained.auxiliary)
            if trained.moments:
                self.session.save("common-optimizer", trained.moments)
        if self._trains_specific(round_):
            metrics |= self._train_specific(unit, round_)
        return list(unit.values()), len(self._rows), metrics

    @classmethod
    def train_ahead(
        cls,
        learners: Sequence["CooperativeClient"],
        parameters: Sequence[list[npt.NDArray[Any]]],
        configs: Sequence[dict[str, Any]],
        size: int | None,
    ) -> None:
        """Train the common units of several clients side by side; each client's `fit` finds its own trained."""
        units = []
        for learner, given, config in zip(learners, parameters, configs, strict=True):
            round_, mu = int(config["server-round"]), proximal_mu(config)
            if _trains_common(learner.settings, round_):
                unit = learner.common
                units.append((unit, unit.start(learner._named(given), learner._rows, round_, mu)))
        train_ahead(units, size)

    def evaluate(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """Decide all tasks on all test images; arguments as in `fit`.

        Returns
        -------
        loss : float
            Mean cross-entropy in nats over the tasks.
        num_examples : int
        metrics : dict
            ``error/<task>`` and ``error/average``, fractions, through the noisy channel, ``balanced-accuracy/...``,
            ``f1/...`` and the scenario's ``metrics`` likewise; ``rate/...`` in nats per
            image, between ``rate-lower/...`` and ``rate-upper/...``; ``channel-uses`` and those of `Meter.metrics`, of
            all tasks together. In rounds of the common unit alone there is only ``common_error/<task>``, that of its
            auxiliary decoders, which no channel disturbs.
        """
        round_, unit = int(config["server-round"]), self._named(parameters)
        values = tasks.joint_values(self.session.dataset.test.labels, self.tasks, self.session.dataset.classes)
        metrics: dict[str, Any] = {}
        losses = []
        if _trains_common(self.settings, round_):
            for name, (loss, error) in self.common.evaluate(unit, values, round_).items():
                metrics[f"common_error/{name}"] = error
                losses.append(loss)
        if self._trains_specific(round_):
            inputs, uses, meter = self._inputs(unit, "test"), 0, Meter()
            found = {}
            for index, name in enumerate(self.tasks):
                generator = self.session.generator(f"evaluation/{name}", round_)
                found[name], sent = specific_unit.evaluate(
                    self._link(name),
                    self._draw,
                    inputs,
                    values[:, index],
                    rate_samples=self.settings.rate_samples,
                    generator=generator,
                    meter=meter,
                    judges=self.judges_of(self.tasks[name]),
                )
                uses += sent
            asked = [metric.name for metric in asked_for(self.session.scenario)]
            for quantity in ("error", *SCORES, *asked, "rate", "rate-lower", "rate-upper"):
                per_task = {name: result[quantity] for name, result in found.items()}
                metrics |= {f"{quantity}/{name}": value for name, value in per_task.items()}
                metrics[f"{quantity}/average"] = sum(per_task.values()) / len(per_task)
            losses = [result["loss"] for result in found.values()]
            metrics |= {"channel-uses": uses, **meter.metrics()}
        return sum(losses) / max(1, len(losses)), len(values), metrics

    def trained(self, parameters: list[npt.NDArray[Any]] | None, config: dict[str, Any]) -> Networks:
        """Return the common unit, if there is one, and every task's specific unit and decoder; arguments as in `fit`.

        The auxiliary decoders have no part in the system.
        """
        if self.settings.cu and parameters is not None:
            weights.restore(self.common.network, self._named(parameters))
        make = self._build_link if parameters is None else self._link
        own: dict[str, nn.Module] = {}
        for name in self.tasks:
            link = make(name)
            own |= {f"specific/{name}": link.encoder, f"decoder/{name}": link.decoder}
        return Networks({"common": self.common.network} if self.settings.cu else {}, own)

    def system(self, nets: Networks, config: dict[str, Any]) -> System:
        """Say how the networks decide: a transmission of its own a task, which is drawn from the units' Gaussians."""
        specific = [nets.private[f"specific/{name}"] for name in self.tasks]
        decoders = [nets.private[f"decoder/{name}"] for name in self.tasks]
        cu, width = self.settings.cu, int(self.channel.settings.width)
        return System(
            encoder=Transmitter(self.common.network if cu else None, specific),
            channel=Transmission(lambda state: partial(self.channel, state=state)),
            decoder=Receivers(decoders),
            values={name: task.symbols for name, task in self.tasks.items()},
            streams=tuple(f"evaluation/{name}" for name in self.tasks),
            draws=((self.settings.common.outputs, width) if cu else (width,),) * len(self.tasks),
        )

    def _trains_specific(self, round_: int) -> bool:
        return self.settings.schedule == "interleaved" or round_ > self.settings.common.rounds

    # -- the specific units ---------------------------------------------------------------------------------

    def _train_specific(self, unit: Arrays, round_: int) -> dict[str, Any]:
        session, settings = self.session, self.settings
        labels = session.dataset.train.labels[self._rows]
        values = tasks.joint_values(labels, self.tasks, session.dataset.classes)
        inputs, metrics, uses = self._inputs(unit, "train"), dict[str, Any](), 0
        for index, name in enumerate(self.tasks):
            link = self._link(name)
            found = session.load(f"ratio/{name}")
            start = None if found is None else torch.from_numpy(found["weights"]).to(session.device)
            draws = session.generator(f"ratio/{name}", 0)  # the same in every round: see specific_unit.penalty
            cost, start = specific_unit.penalty(link, self._draw, inputs, settings, draws, start)
            generator = session.generator(f"specific/{name}", round_)
            with self.optimizer([link.encoder, link.decoder], round_, name=f"optimizer/{name}") as optimizer:
                metrics[f"train_loss/{name}"], sent = specific_unit.train(
                    link,
                    self._draw,
                    inputs,
                    values[:, index],
                    cost=cost,
                    weight=settings.lambda_eff,
                    settings=session.training(round_),
                    generator=generator,
                    optimizer=optimizer,
                )
            uses += sent
            session.save(f"link/{name}", weights.of(link.encoder, "encoder/") | weights.of(link.decoder, "decoder/"))
            if start is not None:
                session.save(f"ratio/{name}", {"weights": start.cpu().numpy()})
        return {**metrics, "channel-uses": uses}

    def _link(self, name: str) -> Link:
        """Return a task's specific unit and decoder with this client's weights."""
        link, saved = self._build_link(name), self.session.load(f"link/{name}")
        if saved is not None:
            weights.restore(link.encoder, saved, "encoder/")
            weights.restore(link.decoder, saved, "decoder/")
        return link

    def _draw(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw c from its stored mean and standard deviation; an image is what it is."""
        if not self.settings.cu:
            return inputs
        mean, deviation = inputs.chunk(2, dim=1)
        return draw(mean, deviation, generator)

    def _inputs(self, unit: Arrays, split: Literal["train", "test"]) -> Tensor:
        """Return what the specific units draw from: mean and standard deviation of c side by side, or the images.

        The frozen common unit sees every image once: its output is kept until another one comes.
        """
        session = self.session
        rows = self._rows if split == "train" else None
        if not self.settings.cu:
            return session.images(rows)
        seen = split if split == "train" else session.split
        kept: Recent[Tensor] = session.cache.once(("features", session.client, seen), lambda: Recent(1))
        key = (array_digest(unit), session.trial.seed, session.device, session.encoder_choice)

        def make() -> Tensor:
            mean, log_variance = self.common.features(unit, session.images(rows))
            return torch.cat([mean, torch.exp(0.5 * log_variance)], dim=1)

        return kept.get(key, make)

    # -- small things ---------------------------------------------------------------------------------------

    @cached_property
    def _rows(self) -> Tensor:
        return torch.from_numpy(self.session.rows).to(self.session.device)

    def _named(self, parameters: list[npt.NDArray[Any]]) -> Arrays:
        return dict(zip(self.common.network.state_dict(), parameters, strict=True))


def _trains_common(settings: CooperativeClient.Settings, round_: int) -> bool:
    return settings.cu and (settings.schedule == "interleaved" or round_ <= settings.common.rounds)
