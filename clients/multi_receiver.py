"""Multi-receiver task-oriented communication (MTOC): one transmitter broadcasts to receivers with a task each.

The strategy sees the transmitter's encoder only; the receivers' decoders stay with their client, a cell. One cell
is the system of "Multi-Receiver Task-Oriented Communications via Multi-Task Deep Learning" (arXiv 2308.06884),
section II: y_i = h_i E(x) + n_i, and the loss is sum_i w_i CE_i. Several cells are our extension.
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from semfed.channels import Channel, ChannelState, Decibel, Meter
from semfed.channels.power import average_power
from semfed.data import tasks
from semfed.events.metrics import Metric, asked_for, with_asked
from semfed.flower.client.learner import Learner
from semfed.flower.client.session import Session
from semfed.scenario import Scenario, Task
from semfed.scenario.settings import StrictModel, only_when, suggest
from semfed.training.decisions import BALANCED_ACCURACY, F1, SCORES, balanced_scores
from semfed.training.judging import scored
from semfed.training.losses import error_rate
from semfed.training.objective import Batch, Build, Networks, Send
from semfed.training.system import Receivers, System, Transmission

from .label_statistics import label_statistics
from .scores import ACCURACY, TEST_SNRS

EVALUATION_BATCH = 2_000
Weight = Annotated[float, Field(ge=0, le=1)]


class MultiReceiverClient(Learner):
    """Trains one encoder and a decoder per receiver, each behind its own channel.

    The task named by the client's entry in the scenario is the one whose label statistics clustering compares.
    """

    loss_name = "train_loss/joint"
    stacks = True
    hears_snr = False  # every receiver has an SNR of its own

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
            if getattr(scenario.channel.settings, "snr_db", None) is None:
                raise ValueError(
                    f"channel.snr_db is unset at channel {scenario.channel.name!r}: say it for the receivers"
                )
            if scenario.channel.settings.uses is None:
                raise ValueError("channel.uses is unset, but it decides how wide encoder and decoders are: set it")

    metrics = (
        ACCURACY,
        BALANCED_ACCURACY,
        F1,
        TEST_SNRS,
        Metric("uses_per_image", "channel uses", role="detail"),
        Metric("power/raw", role="detail"),
    )

    @classmethod
    def headlines(cls, scenario: Scenario) -> tuple[str, ...]:
        """Return the receivers' accuracies, and the scenario's ``metrics``."""
        return with_asked("accuracy", scenario, ("average", *scenario.learner.settings.names))

    @classmethod
    def judged(cls, scenario: Scenario) -> tuple[Task, ...]:
        """Return the receivers' tasks; those of the scaling experiment have two values, whatever the classes."""
        settings = scenario.learner.settings
        return tuple(scenario.tasks[name] for name in settings.tasks) or (half_of(tuple("ab"), 0),)

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
        choice, offsets = self.session.channel_choice, self.settings.snr_offset_db
        base = choice.settings.snr_db if snr_db is None else snr_db
        return [choice.amended(snr_db=base + offsets.get(name, 0.0)).make() for name in self.tasks]

    def networks(self, build: Build) -> Networks:
        """Share the transmitter's encoder; keep the receivers' decoders."""
        encoder = build.encoder()
        made = [build.decoder(len(task.symbols), name=f"decoder/{name}") for name, task in self.tasks.items()]
        return Networks({"encoder": encoder}, {"decoders": nn.ModuleList(made)})

    def link(self, state: ChannelState) -> Send:
        """Return the broadcast: what every receiver hears, one after the other."""

        def broadcast(symbols: Tensor) -> tuple[Tensor, ...]:
            sent = self.channels[0].transmit(symbols, state)
            return tuple(channel.distort(sent, state) for channel in self.channels)

        return broadcast

    def loss(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        """Return the weighted sum of the receivers' cross-entropies in nats."""
        heard = send(nets.encoder(batch.images))
        weighted = zip(self.settings.shares, nets.decoders, heard, batch.labels.T, strict=True)
        losses = [share * cross_entropy(decoder(received), values) for share, decoder, received, values in weighted]
        return torch.stack(losses).sum()

    def system(self, nets: Networks, config: dict[str, Any]) -> System:
        """Say how the networks decide: every receiver its task, on what it hears of one broadcast."""
        values = {name: task.symbols for name, task in self.tasks.items()}
        return System(nets.encoder, Transmission(self.link), Receivers(nets.decoders), values)

    def targets(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return all images, and the values of the receivers' tasks, shape (samples, receivers)."""
        values = tasks.joint_values(labels, self.tasks, self.session.dataset.classes)
        return torch.arange(len(labels), device=labels.device), values

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        """Tell label statistics and the trivial accuracies; see `label_statistics`."""
        self.require_minibatches(len(self.samples[0]), self.resident())
        return label_statistics(self.session, self.tasks, "accuracy")

    @torch.no_grad()
    def test(self, nets: Networks, round_: int) -> tuple[float, int, dict[str, Any]]:
        """Let every receiver decide its task on all test images.

        Returns
        -------
        loss : float
            Mean cross-entropy in nats over the receivers.
        num_examples : int
        metrics : dict
            ``accuracy/<task>`` and ``accuracy/average``, fractions, ``balanced-accuracy/...``, ``f1/...`` and the
            scenario's ``metrics`` likewise;
            the accuracies also as ``accuracy-at-<snr>dB/...`` for every SNR of ``test_snr_db``;
            ``uses_per_image/broadcast`` (MTOC) and ``uses_per_image/one-by-one`` (STOC to every receiver in turn);
            ``power/raw`` of the encoder's output per symbol, before it is scaled; ``snr/received-db/<task>`` of every
            receiver, and those of `ChannelState.metrics`, all receivers together.
        """
        generator, meter = self.session.generator("evaluation", round_), Meter()
        state = ChannelState(generator, meter)
        values = self.test_samples[1]
        raw = torch.cat([nets.encoder(part) for part in torch.split(self.session.images(), EVALUATION_BATCH)])
        sent = self.channels[0].transmit(raw, state)
        uses = self.channels[0].count_uses(sent[:1])
        metrics: dict[str, Any] = {
            "uses_per_image/broadcast": uses,
            "uses_per_image/one-by-one": uses * len(self.tasks),
            "power/raw": float(average_power(raw)) * self.channels[0].settings.reals_per_symbol,
        }
        points = {"accuracy": self.channels}
        points |= {f"accuracy-at-{snr:g}dB": self._receivers_channels(snr) for snr in self.settings.test_snr_db}
        asked = [metric.name for metric in asked_for(self.session.scenario)]
        found: dict[str, list[float]] = {name: [] for name in (*points, *SCORES, *asked)}
        losses = []
        for k, (name, decoder) in enumerate(zip(self.tasks, nets.decoders, strict=True)):
            heard = Meter()
            states = {point: ChannelState(generator, heard if point == "accuracy" else None) for point in points}
            received = torch.cat([channels[k].distort(sent, states[point]) for point, channels in points.items()])
            meter += heard
            metrics |= {f"{metric}/{name}": value for metric, value in heard.metrics().items()}
            for point, logits in zip(points, decoder(received).split(len(sent)), strict=True):
                scores = {point: 1 - error_rate(logits, values[:, k])}
                if point == "accuracy":
                    scores |= balanced_scores(logits.argmax(1), values[:, k])
                    scores |= scored(logits, values[:, k], self.judges_of(self.tasks[name]))
                    losses.append(float(cross_entropy(logits, values[:, k])))
                for score, value in scores.items():
                    found[score].append(value)
                    metrics[f"{score}/{name}"] = value
        metrics |= {f"{score}/average": sum(each) / len(each) for score, each in found.items()}
        metrics |= {"channel-uses": state.uses, **meter.metrics()}
        return sum(losses) / len(losses), len(values), metrics


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
