"""Cooperative multi-task transmitters: a common unit (CU) for all tasks, then a specific unit (SU) for each.

The strategy sees the CU only; specific units, decoders and the CU's auxiliary decoders stay with their client. One
client alone is the system of "Semantic Communication for Cooperative Multi-Tasking Over Rate-Limited Wireless
Channels With Implicit Optimal Prior", sections II-B to II-D; several clients are our extension.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from semfed import models, seeding, training
from semfed.algorithms.bottleneck import specific_unit
from semfed.algorithms.bottleneck.specific_unit import Link, RateSettings
from semfed.channels import Meter
from semfed.data import tasks
from semfed.errors import FederationError
from semfed.events.callbacks import array_digest
from semfed.flower.client.learner import PROXIMAL_MU, Arrays, Learner, Session, proximal_mu
from semfed.flower.client.recent import Recent
from semfed.models.layers.gaussian import GaussianEncoder, draw, sample
from semfed.scenario import Scenario, TrainingSettings
from semfed.scenario.choices import ModelChoice
from semfed.scenario.settings import StrictModel, suggest
from semfed.training import weights
from semfed.training.losses import decision_loss, error_rate, logits_of
from semfed.training.optimizers import make_optimizer

from .label_statistics import label_statistics

EVALUATION_BATCH = 2_000
KEPT_COMMON_UNITS = 64


class CommonUnitSettings(StrictModel):
    """How the common unit is trained: by Adam, with the scenario's batch size."""

    rounds: int = Field(default=1, ge=1)
    """The first so many rounds train it; then it is frozen."""
    epochs: int = Field(default=20, ge=1)
    """In each of these rounds."""
    lr: float = Field(default=1e-3, gt=0)
    outputs: int = Field(default=128, ge=1)
    """Width of c."""


@dataclass(frozen=True)
class CommonTraining:
    """What a round of the common unit's training ends with: weights, Adam's moments and the mean loss in nats."""

    unit: Arrays
    auxiliary: Arrays
    moments: Arrays
    loss: float


class CooperativeClient(Learner):
    """Trains a common unit with auxiliary decoders, then a specific unit and a decoder per task.

    A round of the second phase is ``training.epochs`` epochs of every specific unit. The task named by the client's
    entry in the scenario is the one whose label statistics clustering compares.
    """

    config_keys: ClassVar = {"fit": frozenset({PROXIMAL_MU})}

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
            if self.schedule == "common-first" and self.common.rounds >= scenario.rounds:
                raise ValueError(
                    f"learner.common.rounds = {self.common.rounds} leaves none of {scenario.rounds} rounds for the "
                    "specific units; set rounds higher"
                )

    @classmethod
    def headlines(cls, scenario: Scenario) -> tuple[str, ...]:
        """Return the errors."""
        return ("error/average", *(f"error/{task}" for task in scenario.learner.settings.tasks))

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.settings: CooperativeClient.Settings = session.scenario.learner.settings
        self.tasks = {name: session.scenario.tasks[name] for name in self.settings.tasks}
        self.channel = session.scenario.channel.make().to(session.device)

    @classmethod
    def shares_in(cls, scenario: Scenario, round_: int) -> bool:
        """Say whether the round trains the common unit."""
        return _trains_common(scenario.learner.settings, round_)

    # -- networks, with their initial weights; a client lives for one message -----------------------------------

    def _build_common(self) -> GaussianEncoder:
        session, width = self.session, self.settings.common.outputs
        stream = (session.trial.seed, "encoder", 0)
        trunk = models.build(session.encoder_choice, session.dataset.shape, stream=stream)
        features = _width(trunk, session.dataset.shape)
        stream = (session.trial.seed, "encoder-heads", 0)
        return _gaussian(trunk, features, width, bounded=False, stream=stream).to(session.device)

    def _build_auxiliary(self) -> nn.ModuleDict:
        seed, client = self.session.trial.seed, self.session.client
        shape = (self.settings.common.outputs,)
        decoders = nn.ModuleDict(
            {
                name: models.build(
                    self.settings.auxiliary, shape, outputs=logits_of(task), stream=(seed, f"auxiliary/{name}", client)
                )
                for name, task in self.tasks.items()
            }
        )
        return decoders.to(self.session.device).eval()

    def _build_link(self, name: str) -> Link:
        session, settings = self.session, self.settings
        seed, client, width = session.trial.seed, session.client, int(self.channel.settings.width)
        shape = (settings.common.outputs,) if settings.cu else session.dataset.shape
        trunk = models.build(settings.specific, shape, stream=(seed, f"specific/{name}", client))
        features = _width(trunk, shape)
        encoder = _gaussian(
            trunk, features, width, bounded=settings.heads == "bounded", stream=(seed, f"heads/{name}", client)
        )
        outputs = logits_of(self.tasks[name])
        stream = (seed, f"decoder/{name}", client)
        decoder = models.build(session.scenario.model.decoder, (width,), outputs=outputs, stream=stream)
        return Link(encoder.to(session.device), self.channel, decoder.to(session.device))

    def _networks(self) -> Iterator[nn.Module]:
        """Make all networks that the client trains, one after the other."""
        yield from (self.common, self._build_auxiliary())
        for name in self.tasks:
            link = self._build_link(name)
            yield from (link.encoder, link.decoder)

    @cached_property
    def common(self) -> GaussianEncoder:
        """The common unit."""
        return self._build_common()

    # -- what Flower calls ----------------------------------------------------------------------------------

    def shared(self) -> Arrays:
        """Return the initial common unit."""
        return weights.of(self._build_common())

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
            trained = self._train_common(unit, round_, mu)
            unit, metrics["train_loss/common"] = trained.unit, trained.loss
            self.session.save("auxiliary", trained.auxiliary)
            if trained.moments:
                self.session.save("common-optimizer", trained.moments)
        if self._trains_specific(round_):
            metrics |= self._train_specific(unit, round_)
        return list(unit.values()), len(self._rows), metrics

    def evaluate(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """Decide all tasks on all test images; arguments as in `fit`.

        Returns
        -------
        loss : float
            Mean cross-entropy in nats over the tasks.
        num_examples : int
        metrics : dict
            ``error/<task>`` and ``error/average``, fractions, through the noisy channel; ``rate/...`` in nats per
            image, between ``rate-lower/...`` and ``rate-upper/...``; ``channel-uses`` and those of `Meter.metrics`, of
            all tasks together. In rounds of the common unit alone there is only ``common_error/<task>``, that of its
            auxiliary decoders, which no channel disturbs.
        """
        round_, unit = int(config["server-round"]), self._named(parameters)
        values = tasks.joint_values(self.session.dataset.test.labels, self.tasks, self.session.dataset.classes)
        metrics: dict[str, Any] = {}
        losses = []
        if _trains_common(self.settings, round_):
            for name, (loss, error) in self._evaluate_common(unit, values, round_).items():
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
                )
                uses += sent
            for quantity in ("error", "rate", "rate-lower", "rate-upper"):
                per_task = {name: result[quantity] for name, result in found.items()}
                metrics |= {f"{quantity}/{name}": value for name, value in per_task.items()}
                metrics[f"{quantity}/average"] = sum(per_task.values()) / len(per_task)
            losses = [result["loss"] for result in found.values()]
            metrics |= {"channel-uses": uses, **meter.metrics()}
        return sum(losses) / max(1, len(losses)), len(values), metrics

    # -- the common unit ------------------------------------------------------------------------------------

    def _trains_specific(self, round_: int) -> bool:
        return self.settings.schedule == "interleaved" or round_ > self.settings.common.rounds

    def _train_common(self, unit: Arrays, round_: int, mu: float) -> CommonTraining:
        """Train the common unit as received; arms and sweeps that ask for the same again get the kept result."""
        session = self.session
        auxiliary = session.load("auxiliary") or weights.of(self._build_auxiliary())
        keeps = session.scenario.training.optimizer_state == "kept"
        moments = (session.load("common-optimizer") if keeps else None) or {}
        start = array_digest(unit) + array_digest(auxiliary) + array_digest(moments)
        chosen = (self.settings.tasks, self.settings.auxiliary, session.encoder_choice)
        how = (self.settings.common, session.scenario.training.batch_size, keeps, mu, str(self.tasks), session.device)
        key = (start, chosen, how, session.trial.seed, session.client, round_)
        kept: Recent[CommonTraining] = session.cache.once("common-units", lambda: Recent(KEPT_COMMON_UNITS))
        return kept.get(key, lambda: self._fit_common(unit, auxiliary, moments, round_, mu))

    def _fit_common(self, unit: Arrays, auxiliary: Arrays, moments: Arrays, round_: int, mu: float) -> CommonTraining:
        session, common, decoders = self.session, self.common, self._build_auxiliary()
        weights.restore(common, unit)
        weights.restore(decoders, auxiliary)
        generator = session.generator("common", round_)
        settings = TrainingSettings(
            epochs=self.settings.common.epochs,
            batch_size=session.scenario.training.batch_size,
            optimizer="adam",
            lr=self.settings.common.lr,
            optimizer_state=session.scenario.training.optimizer_state,
        )
        parameters = [*common.parameters(), *decoders.parameters()]
        optimizer = make_optimizer(settings, parameters, mu=mu, shared=common.parameters())
        if moments:
            optimizer.load_state(weights.unpack(moments["moments"], optimizer.state()))

        def loss(images: Tensor, values: Tensor) -> Tensor:
            mean, log_variance = common(images)
            c = sample(mean, log_variance, generator)
            return torch.stack(
                [decision_loss(decoders[name](c), values[:, k]) for k, name in enumerate(self.tasks)]
            ).sum()

        labels = session.dataset.train.labels[self._rows]
        mean_loss = training.fit(
            loss,
            [common, decoders],
            session.images(self._rows),
            tasks.joint_values(labels, self.tasks, session.dataset.classes),
            settings=settings,
            generator=generator,
            optimizer=optimizer,
        )
        keeps = settings.optimizer_state == "kept"
        after = {"moments": weights.pack(optimizer.state())} if keeps else {}
        return CommonTraining(weights.of(common), weights.of(decoders), after, mean_loss)

    @torch.no_grad()
    def _evaluate_common(self, unit: Arrays, values: Tensor, round_: int) -> dict[str, tuple[float, float]]:
        """Return loss and error of the auxiliary decoders by task."""
        decoders = self._build_auxiliary()
        weights.restore(decoders, self.session.load("auxiliary") or weights.of(decoders))
        mean, log_variance = self._features(unit, self.session.images())
        c = sample(mean, log_variance, self.session.generator("evaluation", round_))
        return {
            name: (float(decision_loss(decoders[name](c), values[:, k])), error_rate(decoders[name](c), values[:, k]))
            for k, name in enumerate(self.tasks)
        }

    @torch.no_grad()
    def _features(self, unit: Arrays, images: Tensor) -> tuple[Tensor, Tensor]:
        weights.restore(self.common, unit)
        parts = [self.common(part) for part in torch.split(images, EVALUATION_BATCH)]
        return torch.cat([mean for mean, _ in parts]), torch.cat([spread for _, spread in parts])

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
            with self.optimizer([link.encoder, link.decoder], name=f"optimizer/{name}") as optimizer:
                metrics[f"train_loss/{name}"], sent = specific_unit.train(
                    link,
                    self._draw,
                    inputs,
                    values[:, index],
                    cost=cost,
                    weight=settings.lambda_eff,
                    settings=session.scenario.training,
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
        kept: Recent[Tensor] = session.cache.once(("features", session.client, split), lambda: Recent(1))
        key = (array_digest(unit), session.trial.seed, session.device, session.encoder_choice)

        def make() -> Tensor:
            mean, log_variance = self._features(unit, session.images(rows))
            return torch.cat([mean, torch.exp(0.5 * log_variance)], dim=1)

        return kept.get(key, make)

    # -- small things ---------------------------------------------------------------------------------------

    @cached_property
    def _rows(self) -> Tensor:
        return torch.from_numpy(self.session.rows).to(self.session.device)

    def _named(self, parameters: list[npt.NDArray[Any]]) -> Arrays:
        return dict(zip(self.common.state_dict(), parameters, strict=True))


def _trains_common(settings: CooperativeClient.Settings, round_: int) -> bool:
    return settings.cu and (settings.schedule == "interleaved" or round_ <= settings.common.rounds)


@torch.no_grad()
def _width(trunk: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the numbers that a trunk makes of an input."""
    return int(trunk(torch.zeros(1, *shape)).shape[1])


def _gaussian(
    trunk: nn.Module, features: int, outputs: int, *, bounded: bool, stream: tuple[int, str, int]
) -> GaussianEncoder:
    with seeding.initialisation(*stream):
        return GaussianEncoder(trunk, features, outputs, bounded=bounded).eval()
