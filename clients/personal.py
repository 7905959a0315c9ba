"""What the clients of FedCL and of its baselines have in common: personal classes, an encoder and an uplink.

Source: arXiv 2406.09182, section III: m-way q-shot clients, tested on the classes that they own. What federated
learning elsewhere calls test accuracy, over all classes whoever owns them, is measured beside it.
"""

import math
from collections.abc import Iterator
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from semfed import training
from semfed.algorithms import split_learning
from semfed.channels import Channel, ChannelState, Decibel, Meter
from semfed.data import tasks
from semfed.errors import DataError
from semfed.events.metrics import Metric, with_asked
from semfed.flower.client.base import BaseLearner
from semfed.flower.client.build import SessionBuild
from semfed.flower.client.session import Session
from semfed.models.layers.dropout import draw_from
from semfed.models.layers.snr import hearing, telling
from semfed.scenario import Scenario, Task
from semfed.scenario.settings import StrictModel
from semfed.training import weights
from semfed.training.decisions import BALANCED_ACCURACY, F1, balanced_scores
from semfed.training.judging import own_tasks, scored
from semfed.training.objective import Batch, Networks, Send
from semfed.training.system import System, pair

from .scores import ACCURACY, TEST_SNRS

EVALUATION_BATCH = 2_000
GATHERED = 32
"""Minibatches whose images are taken out of the data set and standardised together."""


class PersonalSettings(StrictModel):
    """How personal clients train and are tested."""

    minibatches: Annotated[int, Field(ge=1)] | None = None
    """Minibatches of a round, all that the local epochs make if unset."""
    test_per_class: Annotated[int, Field(ge=1)] = 100
    """Test images of every own class, the first ones of the test set; all where there are fewer."""
    global_test: Literal["last", "every", "never"] = "last"
    """After which rounds ``accuracy/global`` is measured. It takes every client through the whole test set, which for
    few-shot clients costs far more than a round of their training: after the last round unless a curve is wanted."""
    test_snr_db: tuple[Decibel, ...] = ()
    """Further SNRs at which the last round's model is tested: metrics ``accuracy-at-<snr>dB/own-classes``."""
    show_features: Annotated[int, Field(ge=0)] = 0
    """Test images of every own class whose received features go to the run folder after the last round."""

    def check(self, scenario: Scenario) -> None:
        """Refuse a channel that leaves the number of features open."""
        if scenario.channel.settings.width is None:
            raise ValueError("channel.uses is unset, but it decides how many features an encoder has: set it")
        late = {"test_snr_db": self.test_snr_db, "show_features": self.show_features}
        late |= {"global_test": self.global_test} if self.global_test == "last" else {}
        for name, value in late.items() if scenario.stop is not None else ():
            if value:
                remedy = "set it to 'every' or 'never'" if name == "global_test" else "leave it out"
                raise ValueError(
                    f"learner.{name} = {value!r} is of round {scenario.rounds}, which stop may not let an arm reach: "
                    f"{remedy}, or leave stop out"
                )


class PersonalClient(BaseLearner):
    """A client with its own classes; base of the learners ``split`` and ``joint``.

    Encoders of one architecture start from the same weights at all clients and in all arms of a seed.
    """

    Settings = PersonalSettings
    metrics: ClassVar[tuple[Metric, ...]] = (
        ACCURACY,
        BALANCED_ACCURACY,
        F1,
        Metric("chance", better="higher", fraction=True, role="baseline"),
        TEST_SNRS,
    )
    tells_labels = False
    sends_encoded = True
    validates = True

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        scenario, self.device = session.scenario, session.device
        self.settings: PersonalSettings = scenario.learner.settings
        self.task = scenario.tasks[session.spec.task]
        self.channel: Channel = session.cache.once(
            ("channel", session.channel_choice, self.device), lambda: session.channel_choice.make().to(self.device)
        )
        task, classes = session.spec.task, session.dataset.classes
        self.labels = session.cache.once(
            ("labels", task, self.task, self.device), lambda: tasks.label_map(self.task, task, classes).to(self.device)
        )

    @classmethod
    def headlines(cls, scenario: Scenario) -> tuple[str, ...]:
        """Return the accuracy on the own classes, the global one if it is measured, and the scenario's ``metrics``."""
        never = getattr(scenario.learner.settings, "global_test", "never") == "never"
        return with_asked("accuracy", scenario, ("own-classes",) if never else ("own-classes", "global"))

    @classmethod
    def judged(cls, scenario: Scenario) -> tuple[Task, ...]:
        """Return the tasks of the clients."""
        return own_tasks(scenario)

    @cached_property
    def samples(self) -> tuple[Tensor, Tensor]:
        """The training images that have a value in the client's task, as rows of the data set, and those values."""
        session = self.session

        def own_samples() -> tuple[Tensor, Tensor]:
            own = torch.from_numpy(session.rows).to(self.device)
            kept, labels = tasks.values(session.dataset.train.labels[own], self.labels)
            return own[kept], labels

        key = ("training", session.trial.seed, session.client, session.spec.task, self.task, self.device)
        return session.cache.once(key, own_samples)

    @property
    def train_rows(self) -> Tensor:
        """The client's training images, as rows of the data set."""
        return self.samples[0]

    @property
    def train_labels(self) -> Tensor:
        """Their values."""
        return self.samples[1]

    @classmethod
    def validated(cls, scenario: Scenario) -> tuple[str, ...]:
        """Leave the scores of the whole test set out: validation splits hold own classes only."""
        return tuple(name for name in super().validated(scenario) if not name.endswith("/global"))

    def build_encoder(self) -> nn.Module:
        """Make the client's encoder with its initial weights."""
        return SessionBuild(self.session, self.channel.settings.width).encoder()

    def build_decoder(self) -> nn.Module:
        """Make the decoder with its initial weights, the same as the server's."""
        return split_learning.initial_decoder(self.session.scenario, self.session.trial.seed).to(self.device)

    def network(self, part: str) -> nn.Module:
        """Borrow this process's encoder or decoder of the client's architecture; its weights are anyone's."""
        scenario = self.session.scenario
        choice = self.session.encoder_choice if part == "encoder" else scenario.model.decoder
        aware = scenario.model.hears(part)
        key = (part, choice, aware, self.channel.settings.width, len(self.task.symbols), self.device)
        build = self.build_encoder if part == "encoder" else self.build_decoder
        return self.session.cache.once(("personal", *key), build)

    def transmit(self, encoder: nn.Module, images: Tensor, state: ChannelState, channel: Channel) -> Tensor:
        """Encode images and send them; return what the receiver makes of the symbols.

        A normalised transmission has unit power per symbol. The receiver scales it to unit power per real number, so
        that 64 features have norm 8 and the noise, on each, a standard deviation of 10 ** (-snr_db / 20).

        Returns
        -------
        Tensor, shape (batch, features), float32
        """
        return self.send(encoder(images), state, channel)

    def send(self, symbols: Tensor, state: ChannelState, channel: Channel) -> Tensor:
        """Send what an encoder gave out; see `transmit`."""
        received: Tensor = channel(symbols, state)
        if channel.settings.power == "none":
            return received
        return received * math.sqrt(channel.settings.reals_per_symbol)

    def minibatches(self, round_: int) -> tuple[Tensor, list[int]]:
        """Return the round's minibatches among the client's training samples: indices and sizes, as `training` does."""
        generator, sizes = self.session.generator("minibatches", round_), self.sizes(round_)
        indices, _ = training.minibatches(len(self.train_rows), self.session.scenario.training, generator)
        return indices[: sum(sizes)], sizes

    def sizes(self, round_: int) -> list[int]:
        """Return the sizes of a round's minibatches; nothing is drawn for them."""
        settings = self.session.scenario.training
        sizes = training.batch_sizes(len(self.train_rows), settings.batch_size) * settings.epochs
        return sizes[: self.settings.minibatches]

    def steps(self, nets: Networks, round_: int) -> Iterator[tuple[Batch, ChannelState]]:
        """Yield the round's minibatches, and the state of the channel for each; each has streams of its own."""
        for step, batch in enumerate(self.batches(round_)):
            for part, network in nets.drawing.items():
                self.draw_masks(part, network, round_, step)
            yield batch, self.uplink(round_, step)

    def batches(self, round_: int) -> Iterator[Batch]:
        """Yield the round's minibatches, their images gathered some at a time."""
        indices, sizes = self.minibatches(round_)
        while sizes:
            some, sizes = sizes[:GATHERED], sizes[GATHERED:]
            rows, indices = torch.split(indices, [sum(some), sum(sizes)])
            images = self.session.images(self.train_rows.index_select(0, rows))
            labels = self.train_labels.index_select(0, rows)
            yield from map(Batch, torch.split(images, some), torch.split(labels, some))

    def link(self, state: ChannelState) -> Send:
        """Bind the channel to a random stream and an account; see `send`."""
        return partial(self.send, state=state, channel=self.channel)

    def system(self, nets: Networks, config: dict[str, Any]) -> System:
        """Say how the networks decide: the decoder, among all classes of the task, on what the encoder has sent."""
        return pair(nets, self.link, self.session.spec.task, self.task.symbols)

    def uplink(self, round_: int, step: int) -> ChannelState:
        """Return noise and fading of one minibatch's transmission, the same whenever it is asked for."""
        return ChannelState(lambda: self.session.generator("uplink", round_, step), trains=True)

    def draw_masks(self, part: str, network: nn.Module, round_: int, step: int) -> None:
        """Give the dropout of an encoder or decoder a minibatch's stream, the same whenever it is asked for."""
        draw_from(network, self.session.generator(f"dropout/{part}", round_, step))

    def global_rows(self) -> tuple[Tensor, Tensor]:
        """Return all test images that have a value in the client's task, and those values."""
        session = self.session
        return session.cache.once(
            ("global test", session.spec.task, self.task, self.device),
            lambda: tasks.values(session.dataset.test.labels, self.labels),
        )

    def test_rows(self) -> tuple[Tensor, Tensor]:
        """Return the test images of the client's own classes, and their labels."""
        session = self.session

        def sorted_out() -> tuple[Tensor, list[Tensor]]:
            labels = self.labels[session.dataset.test.labels]
            return labels, [(labels == value).nonzero().squeeze(1) for value in range(len(self.task.symbols))]

        key = ("test", session.spec.task, self.task, self.device)
        labels, rows_of = session.cache.once(key, sorted_out) if session.split == "test" else sorted_out()
        owned = torch.bincount(self.train_labels).nonzero().squeeze(1).tolist()
        rows = torch.cat([rows_of[value][: self.settings.test_per_class] for value in owned])
        return rows, labels[rows]

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        """Tell ``num-examples`` and what trivial decisions reach on the own classes' test images and on all.

        ``baseline/accuracy/<which>`` is the share of the class that is most frequent there, ``baseline/chance/<which>``
        a guess among all classes of the task.

        Raises
        ------
        DataError
            If the client has no training image.
        """
        if not len(self.train_rows):
            raise DataError(f"client {self.session.spec.name!r} has no training image: change data.partition")
        self.require_minibatches(len(self.train_rows), map(self.network, ("encoder", "decoder")))
        told: dict[str, Any] = {"num-examples": len(self.train_rows)}
        tested = {"own-classes": self.test_rows()[1]}
        if self.settings.global_test != "never":
            tested["global"] = self.global_rows()[1]
        for which, labels in tested.items():
            counts = torch.bincount(labels)
            told[f"baseline/accuracy/{which}"] = float(counts.max() / counts.sum())
            told[f"baseline/chance/{which}"] = 1 / len(self.task.symbols)
        return told

    def test_pair(self, encoder: nn.Module, decoder: nn.Module, round_: int) -> tuple[float, int, dict[str, Any]]:
        """Decide among all classes of the task through the noisy channel, on the own classes' test images and on all.

        Returns
        -------
        loss : float
            Mean cross-entropy in nats on the own classes.
        num_examples : int
            Test images of the own classes.
        metrics : dict
            ``accuracy/own-classes``, ``balanced-accuracy/own-classes``, ``f1/own-classes``, the scenario's ``metrics``
            and those of `ChannelState.metrics` in that test; the same scores of ``global``, on the whole test set, in
            the rounds that ``global_test`` names; in the last round ``accuracy-at-<snr>dB/own-classes`` at every
            further SNR and, if the settings ask for it, arrays ``features``, shape (images, features), float32, and
            ``labels``, shape (images,), int64. On a validation split, which has own classes only, those of own classes
            alone.
        """
        rows, labels = self.test_rows()
        images = self.session.images()[rows]
        state = ChannelState(self.session.generator("evaluation", round_), Meter())
        with torch.no_grad():
            received = self.transmit(encoder, images, state, self.channel)
            logits = decoder(received)
            loss = float(cross_entropy(logits, labels))
            metrics: dict[str, Any] = {**self._scores(logits, labels, "own-classes"), **state.metrics()}
            if self.session.split == "validation":
                return loss, len(labels), metrics
            last = round_ == self.session.scenario.rounds
            if self.settings.global_test == "every" or (last and self.settings.global_test == "last"):
                metrics |= self._global_scores(encoder, decoder, round_)
            if last:
                if self.settings.show_features:
                    shown = torch.cat(
                        [(labels == v).nonzero()[: self.settings.show_features, 0] for v in torch.unique(labels)]
                    )
                    metrics |= weights.to_arrays({"features": received[shown], "labels": labels[shown]})
                for snr_db, channel in self._other_channels():
                    further = ChannelState(self.session.generator("evaluation", round_))
                    with telling(hearing((encoder, decoder)), snr_db):
                        decided = decoder(self.transmit(encoder, images, further, channel)).argmax(1)
                    metrics[f"accuracy-at-{snr_db:g}dB/own-classes"] = _accuracy(decided, labels)
        return loss, len(labels), metrics

    def _global_scores(self, encoder: nn.Module, decoder: nn.Module, round_: int) -> dict[str, float]:
        """Return the scores on all test images, whichever client owns their classes."""
        rows, labels = self.global_rows()
        images, state = self.session.images(), ChannelState(self.session.generator("global evaluation", round_))
        logits = [
            decoder(self.transmit(encoder, images[part], state, self.channel))
            for part in torch.split(rows, EVALUATION_BATCH)
        ]
        return self._scores(torch.cat(logits), labels, "global")

    def _scores(self, logits: Tensor, labels: Tensor, which: str) -> dict[str, float]:
        decided = logits.argmax(1)
        scores = {"accuracy": _accuracy(decided, labels), **balanced_scores(decided, labels)}
        scores |= scored(logits, labels, self.judges)
        return {f"{name}/{which}": value for name, value in scores.items()}

    def _other_channels(self) -> Iterator[tuple[float, Channel]]:
        for snr_db in self.settings.test_snr_db:
            yield snr_db, type(self.channel)(self.channel.settings.model_copy(update={"snr_db": snr_db}))


def _accuracy(decided: Tensor, labels: Tensor) -> float:
    return int((decided == labels).sum()) / len(labels)
