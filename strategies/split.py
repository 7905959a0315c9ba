"""Split training on the server's side: what FedCL and FedProto have in common.

Source: arXiv 2406.09182, Algorithm 1: one decoder instance a client trains on its received features, the gradient
goes back, and the instances are averaged at the end of the round, weighted by the clients' samples (eq. 5).
"""

import copy
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Annotated

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from pydantic import Field
from torch import Tensor

from semfed import seeding
from semfed.algorithms import split_learning
from semfed.algorithms.contrastive import Centroids, local_centroids
from semfed.algorithms.split_learning import ServerHalf
from semfed.channels import Channel
from semfed.checkpoint.files import Arrays
from semfed.flower import arrays as wire
from semfed.flower.arrays import mismatch
from semfed.flower.server.accounts import unsent
from semfed.flower.server.strategy import FederatedStrategy, StrategySettings
from semfed.flower.trial import Trial
from semfed.scenario import Scenario, TrainingSettings
from semfed.scenario.choices import ChannelChoice
from semfed.training import pick_device, weights
from semfed.training.optimizers import make_optimizer

SYMBOLS = unsent(up=["features"], down=["gradient"])
"""These pass the channel, one without errors if it has none, and are charged as channel uses, not as bytes."""
Batch = tuple[Tensor, Tensor]
"""Features, shape (batch, features), and labels, shape (batch,)."""


class SplitSettings(StrategySettings):
    """What strategies of split training can be told."""

    lambda_ms: Annotated[float, Field(ge=0, title="weight λ of the centroids")]
    """Weight of the pull towards global centroids, on the mean square over the features."""
    downlink: ChannelChoice | None = None
    """Channel of the gradients, such as ``{name = "awgn", symbols = "complex", snr_db = 10}``; without errors if
    unset."""

    def idle(self, scenario: Scenario, here: str) -> Iterator[tuple[str, str]]:
        """Tell what has no effect; see `semfed.scenario.effects`."""
        yield f"{here}.downlink.uses", "a gradient is as wide as the features"
        yield f"{here}.downlink.power", "a gradient is sent at unit power in any case"

    def check(self, scenario: Scenario) -> None:
        """Refuse clients whose decoders could not be shared."""
        tasks = {client.task for client in scenario.clients}
        if len(tasks) > 1:
            raise ValueError(
                f"clients have the tasks {sorted(tasks)}, but a shared decoder serves one: give all the same"
            )


class SplitStrategy(FederatedStrategy):
    """Train decoders on received features and send gradients back.

    A client that drops out within a round is left out of that round altogether: its decoder instance, its features
    and its optimiser's steps are forgotten, and everyone else goes on as if it had not been asked.

    Parameters
    ----------
    trial : Trial
    settings : SplitSettings
    """

    phases = ("forward", "backward")
    shared_decoder = True

    def __init__(self, trial: Trial, settings: SplitSettings) -> None:
        super().__init__(trial, settings)
        scenario = trial.scenario
        self.lambda_ms = settings.lambda_ms
        self.features: int = scenario.channel.settings.width
        self.classes = len(scenario.tasks[scenario.clients[0].task].symbols)
        self.device = pick_device(scenario.training.device)
        self.downlink: Channel | None = None
        if settings.downlink is not None:
            self.downlink = settings.downlink.make()
        self.halves = [self._new_half() for _ in scenario.clients]

    # -- what algorithms decide ---------------------------------------------------------------------------

    @abstractmethod
    def centroids(self) -> Centroids | None:
        """Return the global centroids that this round's features are pulled to; None if there are none yet."""

    @abstractmethod
    def learn(self, local: list[Centroids]) -> None:
        """Take in the local centroids of the clients that completed the round, in their order."""

    # -- state --------------------------------------------------------------------------------------------

    def learned(self) -> Arrays:
        """Return all that the server has learned, as named arrays; `restore` goes on from them."""
        arrays: Arrays = {}
        for client, half in enumerate(self.halves):
            arrays |= weights.of(half.decoder, f"decoder/{client}/")
            arrays |= weights.to_arrays(half.optimizer.state(), f"decoder-optimizer/{client}/")
        return arrays

    def restore(self, arrays: Arrays, state: Arrays | None = None) -> None:
        """Go on from what `learned` returned."""
        for client, half in enumerate(self.halves):
            weights.restore(half.decoder, arrays, f"decoder/{client}/")
            half.optimizer.load_state(weights.to_tensors(arrays, f"decoder-optimizer/{client}/"))

    # -- rounds -------------------------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every client for the features of its first minibatch."""
        return self.messages(
            range(len(self.halves)), "train.forward", server_round, ArrayRecord(), ConfigRecord(), unsent=SYMBOLS
        )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Exchange features and gradients until no client has more, then update centroids and decoders.

        Returns
        -------
        arrays : ArrayRecord
            All that the server has `learned`.
        metrics : MetricRecord
            ``train_loss``, mean over the clients that completed the round.
        """
        halves, batches, losses = self._exchange(server_round, replies)
        for client in halves:
            self.halves[client] = halves[client]
            self._opened().report("train_loss", float(np.mean(losses[client])), client)
        self.learn([self._local(batches[client]) for client in halves])
        if self.shared_decoder:
            self._share(list(halves))
        return wire.record(self.learned()), MetricRecord(
            {"train_loss": float(np.mean([np.mean(losses[k]) for k in halves]))}
        )

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Lend every client its decoder for the test: an instrument of the trial, accounted apart."""
        decoders = [weights.of(half.decoder) for half in self.halves]
        return [self.message(k, "evaluate", server_round, wire.record(d), config) for k, d in enumerate(decoders)]

    # -- inside -------------------------------------------------------------------------------------------

    def _new_half(self) -> ServerHalf:
        scenario = self.trial.scenario
        decoder = split_learning.initial_decoder(scenario, self.trial.seed).to(self.device)
        return ServerHalf(decoder, make_optimizer(self._training(1), decoder.parameters()))

    def _begin(self, half: ServerHalf, server_round: int) -> ServerHalf:
        """Return a copy to train in a round, with the optimiser that the scenario's ``optimizer_state`` asks for."""
        training, decoder = self._training(server_round), copy.deepcopy(half.decoder)
        optimizer = make_optimizer(training, decoder.parameters())
        if training.optimizer_state == "kept":
            optimizer.load_state({name: moment.clone() for name, moment in half.optimizer.state().items()})
        return ServerHalf(decoder, optimizer)

    def _training(self, server_round: int) -> TrainingSettings:
        scenario = self.trial.scenario
        return scenario.training.in_round(server_round, scenario.rounds)

    def _masks(self, client: int, server_round: int, step: int) -> torch.Generator:
        """Return the stream of a decoder's dropout for a minibatch: the one that a joint client draws from."""
        stream = (self.trial.seed, "dropout/decoder", client, server_round, step)
        return seeding.torch_generator(*stream, device=self.device)

    def _exchange(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[dict[int, ServerHalf], dict[int, list[Batch]], dict[int, list[float]]]:
        """Run the exchange of a round on copies of the decoders.

        Returns
        -------
        halves, batches, losses : dict
            Of the clients that completed the round, in their order; the others' are forgotten.
        """
        halves = {k: self._begin(half, server_round) for k, half in enumerate(self.halves)}
        batches: dict[int, list[Batch]] = {k: [] for k in halves}
        losses: dict[int, list[float]] = {k: [] for k in halves}
        centroids = self.centroids()
        asked, done, step = set(halves), set[int](), 0
        while asked:
            messages = []
            answered = set()
            for reply in self.usable(server_round, replies, check=self._problem):
                client = reply.metadata.src_node_id
                arrays = reply.content.array_records["arrays"]
                if not arrays and not batches[client]:
                    continue  # nothing at all is no answer
                answered.add(client)
                if not arrays:
                    done.add(client)
                    continue
                received, labels = (torch.from_numpy(arrays[n].numpy()).to(self.device) for n in ("features", "labels"))
                masks = self._masks(client, server_round, step)
                loss, gradient = halves[client].step(received, labels, centroids, self.lambda_ms, generator=masks)
                batches[client].append((received, labels))
                losses[client].append(loss)
                messages.append(self._gradient(client, server_round, step, gradient))
            for lost in asked - answered:
                del halves[lost]
            asked, step = answered - done, step + 1
            replies = self._send(messages)
        lost_names = [self._opened().name(k) for k in range(len(self.halves)) if k not in halves]
        stopped = dict.fromkeys(lost_names, "stopped answering")
        self.require_quorum(server_round, len(halves), len(self.halves), stopped)
        return halves, batches, losses

    def _send(self, messages: list[Message]) -> Iterable[Message]:
        if not messages:
            return []
        return self._opened().send_and_receive(messages, timeout=self.trial.scenario.timeout_s)

    def _gradient(self, client: int, server_round: int, step: int, gradient: Tensor) -> Message:
        """Send a gradient down; the message holds what the client receives."""
        stream = (self.trial.seed, "downlink", client, server_round, step)
        generator = seeding.torch_generator(*stream, device=self.device)
        received = split_learning.send_gradient(gradient, self.downlink, generator).cpu().numpy()
        record = wire.record({"gradient": received})
        config = ConfigRecord({"minibatch": step})
        return self.message(client, "train.backward", server_round, record, config, unsent=SYMBOLS)

    def _problem(self, reply: Message) -> str | None:
        """Say what is wrong with features; an empty answer ends the client's round."""
        arrays = reply.content.get("arrays")
        if isinstance(arrays, ArrayRecord) and not arrays:
            return None
        samples = arrays["labels"].shape[0] if isinstance(arrays, ArrayRecord) and "labels" in arrays else 0
        features, classes = np.empty((samples, self.features), dtype=np.float32), np.empty(samples, dtype=np.int64)
        expected = wire.record({"features": features, "labels": classes})
        problem = mismatch(arrays, expected)
        if problem is not None or not isinstance(arrays, ArrayRecord):
            return problem
        labels = wire.view(arrays["labels"])
        if not samples or labels.min() < 0 or labels.max() >= self.classes:
            return f"labels are not classes 0 .. {self.classes - 1}"
        return None

    def _local(self, batches: list[Batch]) -> Centroids:
        features, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return local_centroids(features, labels, self.classes)

    def _share(self, clients: list[int]) -> None:
        """Let every decoder instance restart from the mean of those that were trained, eq. (5)."""
        properties = self._opened().properties
        samples = [float(properties[client]["num-examples"]) for client in clients]
        mean = split_learning.average([self.halves[client].decoder for client in clients], samples)
        for half in self.halves:
            half.decoder.load_state_dict(mean)
