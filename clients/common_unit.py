"""The common unit of a cooperative transmitter: a stochastic encoder that is trained with a decoder a task.

Source: "Semantic Communication for Cooperative Multi-Tasking Over Rate-Limited Wireless Channels With Implicit Optimal
Prior", section II-B.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from pydantic import Field
from torch import Tensor, nn

from semfed import models, training
from semfed.checkpoint.files import Arrays
from semfed.data import tasks
from semfed.events.callbacks import array_digest
from semfed.flower.client.recent import Recent
from semfed.flower.client.session import Session
from semfed.models.layers.gaussian import GaussianEncoder, sample
from semfed.models.stochastic import build_stochastic
from semfed.scenario import Task, TrainingSettings
from semfed.scenario.plugins import Plugin
from semfed.scenario.settings import StrictModel
from semfed.training import weights
from semfed.training.losses import decision_loss, error_rate, logits_of
from semfed.training.objective import Batch, Build, Networks, Objective, Send
from semfed.training.optimizers import make_optimizer

EVALUATION_BATCH = 2_000
KEPT_COMMON_UNITS = 64


class CommonUnitSettings(StrictModel):
    """How the common unit is trained: by Adam, with the scenario's batch size, clipping and schedule."""

    rounds: int = Field(default=1, ge=1)
    """The first so many rounds train it; then it is frozen."""
    epochs: int = Field(default=20, ge=1)
    """In each of these rounds."""
    lr: float = Field(default=1e-3, gt=0, title="learning rate of the common unit")
    """Step size."""
    outputs: int = Field(default=128, ge=1)
    """Width of c."""


@dataclass(frozen=True)
class CommonTraining:
    """What a round of the common unit's training ends with: weights, Adam's moments and the mean loss in nats."""

    unit: Arrays
    auxiliary: Arrays
    moments: Arrays
    loss: float


@dataclass(frozen=True)
class CommonStart:
    """What a round of the common unit's training starts from; `likeness` is what units that can be stacked share."""

    key: Hashable
    likeness: Hashable
    unit: Arrays
    auxiliary: Arrays
    moments: Arrays
    rows: Tensor
    settings: TrainingSettings
    mu: float
    round: int


class CommonObjective(Objective):
    """The sum of the auxiliary decoders' losses on a draw of c; what is sent is mean and log-variance side by side.

    Parameters
    ----------
    tasks : mapping of str to Task
    """

    stacks = True

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self.tasks = tasks

    def networks(self, build: Build) -> Networks:
        """Not built here: see `CommonUnit`."""
        raise NotImplementedError

    def loss(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        """Return the loss in nats; ``batch.labels`` has shape (batch, tasks)."""
        c = send(torch.cat(nets.common(batch.images), dim=1))
        losses = [decision_loss(nets.auxiliary[name](c), batch.labels[:, k]) for k, name in enumerate(self.tasks)]
        return torch.stack(losses).sum()


def drawing(generator: torch.Generator) -> Send:
    """Return what draws c from mean and log-variance, shape (batch, 2 x outputs)."""

    def draw(both: Tensor) -> Tensor:
        mean, log_variance = both.chunk(2, dim=1)
        return sample(mean, log_variance, generator)

    return draw


class CommonUnit:
    """A client's common unit and its auxiliary decoders, for as long as a message is served.

    Parameters
    ----------
    session : Session
    tasks : mapping of str to Task
        What it is trained for.
    settings : CommonUnitSettings
    decoder : Plugin
        Architecture of the auxiliary decoders.
    """

    def __init__(
        self, session: Session, tasks: Mapping[str, Task], settings: CommonUnitSettings, decoder: Plugin
    ) -> None:
        self.session, self.tasks = session, tasks
        self.settings, self.decoder = settings, decoder

    @cached_property
    def network(self) -> GaussianEncoder:
        """The unit; its weights are anything until they are filled."""
        return self.build()

    def build(self) -> GaussianEncoder:
        """Make the unit with its initial weights, the same at every client of a seed."""
        session, seed = self.session, self.session.trial.seed
        streams = {"trunk": (seed, "encoder", 0), "heads": (seed, "encoder-heads", 0)}
        shape, width = session.dataset.shape, self.settings.outputs
        return build_stochastic(session.encoder_choice, shape, width, bounded=False, **streams).to(session.device)

    def build_auxiliary(self) -> nn.ModuleDict:
        """Make the auxiliary decoders with this client's initial weights."""
        seed, client = self.session.trial.seed, self.session.client
        shape = (self.settings.outputs,)
        decoders = nn.ModuleDict(
            {
                name: models.build(
                    self.decoder, shape, outputs=logits_of(task), stream=(seed, f"auxiliary/{name}", client)
                )
                for name, task in self.tasks.items()
            }
        )
        return decoders.to(self.session.device).eval()

    def train(self, unit: Arrays, rows: Tensor, round_: int, mu: float) -> CommonTraining:
        """Train the common unit as received; arms and sweeps that ask for the same again get the kept result."""
        start = self.start(unit, rows, round_, mu)
        return self.known.get(start.key, lambda: self._fit(start))

    @property
    def known(self) -> Recent[CommonTraining]:
        """Results that this process keeps."""
        kept: Recent[CommonTraining] = self.session.cache.once("common-units", lambda: Recent(KEPT_COMMON_UNITS))
        return kept

    def start(self, unit: Arrays, rows: Tensor, round_: int, mu: float) -> "CommonStart":
        """Return what a round's training starts from."""
        session, settings = self.session, self.training(round_)
        auxiliary = session.load("auxiliary") or weights.of(self.build_auxiliary())
        keeps = session.scenario.training.optimizer_state == "kept"
        moments = (session.load("common-optimizer") if keeps else None) or {}
        digests = array_digest(unit) + array_digest(auxiliary) + array_digest(moments)
        chosen = (tuple(self.tasks), self.decoder, session.encoder_choice)
        how = (settings, self.settings, mu, str(self.tasks), session.device)
        key = (digests, chosen, how, session.trial.seed, session.client, round_)
        return CommonStart(key, (chosen, how), unit, auxiliary, moments, rows, settings, mu, round_)

    def training(self, round_: int) -> TrainingSettings:
        """Return how a round trains it."""
        scenario, own = self.session.scenario, self.settings
        given = scenario.training
        return TrainingSettings(
            epochs=own.epochs,
            batch_size=given.batch_size,
            optimizer="adam",
            lr=own.lr,
            clip_grad_norm=given.clip_grad_norm,
            schedule=given.schedule,
            optimizer_state=given.optimizer_state,
        ).in_round(round_, scenario.rounds)

    def data(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images of rows, and their values of all tasks, shape (images, tasks)."""
        dataset = self.session.dataset
        values = tasks.joint_values(dataset.train.labels[rows], self.tasks, dataset.classes)
        return self.session.images(rows), values

    def _fit(self, start: "CommonStart") -> CommonTraining:
        common, decoders = self.network, self.build_auxiliary()
        weights.restore(common, start.unit)
        weights.restore(decoders, start.auxiliary)
        generator, settings = self.session.generator("common", start.round), start.settings
        nets = Networks({"common": common}, {"auxiliary": decoders})
        optimizer = make_optimizer(settings, nets.parameters, mu=start.mu, shared=nets.shared_parameters)
        if start.moments:
            optimizer.load_state(weights.unpack(start.moments["moments"], optimizer.state()))
        objective, send = CommonObjective(self.tasks), drawing(generator)
        mean_loss = training.fit(
            lambda images, values: objective.loss(nets, Batch(images, values), send),
            [common, decoders],
            *self.data(start.rows),
            settings=settings,
            generator=generator,
            optimizer=optimizer,
        )
        keeps = settings.optimizer_state == "kept"
        after = {"moments": weights.pack(optimizer.state())} if keeps else {}
        return CommonTraining(weights.of(common), weights.of(decoders), after, mean_loss)

    @torch.no_grad()
    def evaluate(self, unit: Arrays, values: Tensor, round_: int) -> dict[str, tuple[float, float]]:
        """Return loss and error of the auxiliary decoders by task."""
        decoders = self.build_auxiliary()
        weights.restore(decoders, self.session.load("auxiliary") or weights.of(decoders))
        mean, log_variance = self.features(unit, self.session.images())
        c = sample(mean, log_variance, self.session.generator("evaluation", round_))
        decided = {name: (decoders[name](c), values[:, k]) for k, name in enumerate(self.tasks)}
        return {name: (float(decision_loss(*told)), error_rate(*told)) for name, told in decided.items()}

    @torch.no_grad()
    def features(self, unit: Arrays, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of c, each of shape (images, outputs)."""
        weights.restore(self.network, unit)
        parts = [self.network(part) for part in torch.split(images, EVALUATION_BATCH)]
        return torch.cat([mean for mean, _ in parts]), torch.cat([spread for _, spread in parts])
