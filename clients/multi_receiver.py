"""Multi-receiver task-oriented communication (MTOC): one transmitter broadcasts to receivers with a task each.

The strategy sees the transmitter's encoder only; the receivers' decoders stay with their client, a cell. One cell
is the system of "Multi-Receiver Task-Oriented Communications via Multi-Task Deep Learning" (arXiv 2308.06884),
section II: y_i = h_i E(x) + n_i, and the loss is sum_i w_i CE_i. Several cells are our extension.
"""

from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from semfed import models, training
from semfed.channels import Channel, ChannelState, Decibel, Meter
from semfed.channels.power import average_power
from semfed.checkpoint.files import Arrays
from semfed.data import tasks
from semfed.flower.client.base import PROXIMAL_MU, BaseLearner, proximal_mu
from semfed.flower.client.session import Session
from semfed.scenario import Scenario, Task
from semfed.scenario.settings import StrictModel, only_when, suggest
from semfed.training import weights
from semfed.training.losses import error_rate

from .label_statistics import label_statistics

EVALUATION_BATCH = 2_000
Weight = Annotated[float, Field(ge=0, le=1)]


class MultiReceiverClient(BaseLearner):
    """Trains one encoder and a decoder per receiver, each behind its own channel.

    The task named by the client's entry in the scenario is the one whose label statistics clustering compares.
    """

    config_keys: ClassVar = {"fit": frozenset({PROXIMAL_MU})}

    class Settings(StrictModel):
        """Receivers, their tasks and their weights."""

        tasks: Annotated[tuple[str, ...], only_when(receivers=None)] = ()
        """Receiver i decides the i-th of these."""
        receivers: int | None = Field(default=None, ge=1, le=10)
        """Instead of `tasks`, so many receivers of the paper's scaling experiment: the i-th, called ``t<i>``, tells
        five classes from the rest, C_i to C_(i+4), counted around."""
        weights: Weight | tuple[Weight, ...] | None = None
        """One a receiver, 0 for the receivers after the last; a single number w stands for (w, 1 - w); unset, all are
        1 / receivers."""
        snr_offset_db: dict[str, float] = {}  # noqa: RUF012  # pydantic copies defaults
        """By a receiver's task: what its SNR is above ``channel.snr_db``, for unequal receivers."""
        test_snr_db: tuple[Decibel, ...] = ()
        """Further SNRs at which the trained system is tested, as ``accuracy-at-<snr>dB/<task>``."""

        @property
        def names(self) -> tuple[str, ...]:
            """Names of the receivers' tasks."""
            return self.tasks if self.receivers is None else tuple(f"t{i + 1}" for i in range(self.receivers))

        @property
        def shares(self) -> tuple[float, ...]:
            """Weights of the receivers' losses."""
            if self.weights is None:
                return tuple(1 / len(self.names) for _ in self.names)
            given = self.weights if isinstance(self.weights, tuple) else (self.weights, 1 - self.weights)
            return given + (0.0,) * (len(self.names) - len(given))

        def check(self, scenario: Scenario) -> None:
            """Refuse settings that cannot work with the rest of the scenario."""
            if not self.names:
                raise ValueError("learner.tasks is empty: name a task per receiver, or set learner.receivers")
            for name in self.tasks:
                if name not in scenario.tasks:
                    raise ValueError(f"learner.tasks names the unknown task {name!r}; {suggest(name, scenario.tasks)}")
            for name, offset in self.snr_offset_db.items():
                if name not in self.names and (offset or self.receivers is None):  # fewer receivers may be left
                    raise ValueError(
                        f"learner.snr_offset_db.{name}: no receiver has this task; {suggest(name, self.names)}"
                    )
            if len(self.shares) != len(self.names) or not any(self.shares):
                raise ValueError(
                    f"learner.weights = {self.weights} for {len(self.names)} receivers: no more than that, not all 0"
                )
            if scenario.channel.settings.uses is None:
                raise ValueError("channel.uses is unset, but it decides how wide encoder and decoders are: set it")

    sends_encoded = True

    @classmethod
    def headlines(cls, scenario: Scenario) -> tuple[str, ...]:
        """Return the receivers' accuracies."""
        return ("accuracy/average", *(f"accuracy/{task}" for task in scenario.learner.settings.names))

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.settings: MultiReceiverClient.Settings = session.scenario.learner.settings
        classes = session.dataset.classes
        if self.settings.receivers is None:
            self.tasks = {name: session.scenario.tasks[name] for name in self.settings.tasks}
        else:
            self.tasks = {name: half_of(classes, index) for index, name in enumerate(self.settings.names)}
        self.channels = self._receivers_channels(None)

    def _receivers_channels(self, snr_db: float | None) -> list[Channel]:
        choice, offsets = self.session.scenario.channel, self.settings.snr_offset_db
        base = choice.settings.snr_db if snr_db is None else snr_db
        return [choice.amended(snr_db=base + offsets.get(name, 0.0)).make() for name in self.tasks]

    def _build_encoder(self) -> nn.Module:
        session, width = self.session, self.channels[0].settings.width
        stream = (session.trial.seed, "encoder", 0)
        return models.build(session.encoder_choice, session.dataset.shape, outputs=width, stream=stream).to(
            session.device
        )

    @cached_property
    def encoder(self) -> nn.Module:
        """The transmitter."""
        return self._build_encoder()

    @cached_property
    def decoders(self) -> list[nn.Module]:
        """The receivers, with this client's weights."""
        session, shape = self.session, (int(self.channels[0].settings.width or 0),)
        built = [
            models.build(
                session.scenario.model.decoder,
                shape,
                outputs=len(task.symbols),
                stream=(session.trial.seed, f"decoder/{name}", session.client),
            ).to(session.device)
            for name, task in self.tasks.items()
        ]
        saved = session.load("decoders")
        if saved is not None:
            for index, decoder in enumerate(built):
                weights.restore(decoder, saved, f"{index}/")
        return built

    def shared(self) -> Arrays:
        """Return the initial encoder."""
        return weights.of(self._build_encoder())

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        """Tell label statistics and the trivial accuracies; see `label_statistics`."""
        self.require_minibatches(len(self._rows), [self.encoder, *self.decoders])
        return label_statistics(self.session, self.tasks, "accuracy")

    def fit(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[list[npt.NDArray[Any]], int, dict[str, Any]]:
        """Train encoder and decoders together for the scenario's local epochs.

        Parameters
        ----------
        parameters : list of ndarray
            The encoder.
        config : dict
            ``server-round``: int; ``proximal-mu``: float, optional, holds the encoder back.

        Returns
        -------
        parameters : list of ndarray, float32
            The trained encoder.
        num_examples : int
        metrics : dict
            ``train_loss/joint``, the cross-entropies in nats, and ``channel-uses`` of all transmissions: a
            broadcast counts once.
        """
        session, shares = self.session, self.settings.shares
        self._load(parameters)
        generator = session.generator("training", int(config["server-round"]))
        state = ChannelState(generator)

        def loss(images: Tensor, values: Tensor) -> Tensor:
            sent = self.channels[0].transmit(self.encoder(images), state)
            losses = [
                share * cross_entropy(decoder(channel.distort(sent, state)), values[:, k])
                for k, (share, channel, decoder) in enumerate(zip(shares, self.channels, self.decoders, strict=True))
            ]
            return torch.stack(losses).sum()

        labels = session.dataset.train.labels[self._rows]
        networks, mu = [self.encoder, *self.decoders], proximal_mu(config)
        with self.optimizer(networks, mu=mu, shared=[self.encoder]) as optimizer:
            mean_loss = training.fit(
                loss,
                networks,
                session.images(self._rows),
                tasks.joint_values(labels, self.tasks, session.dataset.classes),
                settings=session.scenario.training,
                generator=generator,
                optimizer=optimizer,
            )
        trained = [weights.of(decoder, f"{index}/") for index, decoder in enumerate(self.decoders)]
        session.save("decoders", {name: array for arrays in trained for name, array in arrays.items()})
        metrics = {"train_loss/joint": mean_loss, "channel-uses": state.uses}
        return list(weights.of(self.encoder).values()), len(labels), metrics

    @torch.no_grad()
    def evaluate(self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        """Let every receiver decide its task on all test images; arguments as in `fit`.

        Returns
        -------
        loss : float
            Mean cross-entropy in nats over the receivers.
        num_examples : int
        metrics : dict
            ``accuracy/<task>`` and ``accuracy/average``, fractions; the same as ``accuracy-at-<snr>dB/...`` for every
            SNR of ``test_snr_db``; ``uses_per_image/broadcast`` (MTOC) and ``uses_per_image/one-by-one`` (STOC to
            every receiver in turn); ``power/raw`` of the encoder's output per symbol, before it is scaled;
            ``snr/received-db/<task>`` of every receiver, and those of `ChannelState.metrics`, all receivers together.
        """
        session = self.session
        self._load(parameters)
        generator, meter = session.generator("evaluation", int(config["server-round"])), Meter()
        state = ChannelState(generator, meter)
        values = tasks.joint_values(session.dataset.test.labels, self.tasks, session.dataset.classes)
        raw = torch.cat([self.encoder(part) for part in torch.split(session.images(), EVALUATION_BATCH)])
        sent = self.channels[0].transmit(raw, state)
        uses = self.channels[0].count_uses(sent[:1])
        metrics: dict[str, Any] = {
            "uses_per_image/broadcast": uses,
            "uses_per_image/one-by-one": uses * len(self.tasks),
            "power/raw": float(average_power(raw)) * self.channels[0].settings.reals_per_symbol,
        }
        points = {"accuracy": self.channels}
        points |= {f"accuracy-at-{snr:g}dB": self._receivers_channels(snr) for snr in self.settings.test_snr_db}
        correct: dict[str, list[float]] = {point: [] for point in points}
        losses = []
        for k, (name, decoder) in enumerate(zip(self.tasks, self.decoders, strict=True)):
            heard = Meter()
            states = {point: ChannelState(generator, heard if point == "accuracy" else None) for point in points}
            received = torch.cat([channels[k].distort(sent, states[point]) for point, channels in points.items()])
            meter += heard
            metrics |= {f"{metric}/{name}": value for metric, value in heard.metrics().items()}
            for point, logits in zip(points, decoder(received).split(len(sent)), strict=True):
                correct[point].append(1 - error_rate(logits, values[:, k]))
                metrics[f"{point}/{name}"] = correct[point][-1]
                if point == "accuracy":
                    losses.append(float(cross_entropy(logits, values[:, k])))
        metrics |= {f"{point}/average": sum(found) / len(found) for point, found in correct.items()}
        metrics |= {"channel-uses": state.uses, **meter.metrics()}
        return sum(losses) / len(losses), len(values), metrics

    @cached_property
    def _rows(self) -> Tensor:
        return torch.from_numpy(self.session.rows).to(self.session.device)

    def _load(self, parameters: list[npt.NDArray[Any]]) -> None:
        weights.restore(self.encoder, dict(zip(self.encoder.state_dict(), parameters, strict=True)))


def half_of(classes: tuple[str, ...], index: int) -> Task:
    """Return the task of receiver `index` of the scaling experiment: five classes from there on, around, or not.

    Receivers i and i + 5 of ten decide complements of each other: there are only five different splits.

    Examples
    --------
    >>> half_of(tuple("0123456789"), 7).values
    {'in': ('7', '8', '9', '0', '1')}
    """
    chosen = tuple(classes[(index + k) % len(classes)] for k in range(len(classes) // 2))
    return Task(values={"in": chosen}, rest="out")
