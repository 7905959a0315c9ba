"""For every check of strategies and of clients, a part that fails it and no other."""

import os
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from flwr.app import Message
from pydantic import Field
from semfed.strategies.fedavg import FedAvg

from semfed.events.metrics import Metric
from semfed.flower import arrays as wire
from semfed.flower.client.learner import Learner
from semfed.flower.server.broadcast import BroadcastStrategy
from semfed.scenario.settings import StrictModel
from semfed.testing import check_client, check_strategy, clients, strategies
from semfed.training.end_to_end import EndToEnd
from semfed.training.objective import Batch, Build, Networks, Send

from .failing import assert_fails, failures


class Plain(FedAvg):
    """As it should be."""

    stateless = True


class Hiding(BroadcastStrategy):
    stateless = True

    class Settings(BroadcastStrategy.Settings):
        width: int = Field(default=1, exclude=True)

    def aggregate(self, replies: Any) -> Any:
        return {name: stack.mean(0) for name, stack in replies.stacked()}


class Scaling(FedAvg):
    """Changes the average a little."""

    stateless = True
    factor = 1.0

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        arrays, metrics = super().aggregate_train(server_round, replies)
        scaled = {name: array.numpy() * np.float32(self.factor) for name, array in (arrays or {}).items()}
        return wire.record(scaled), metrics


class Unseeded(Scaling):
    @property
    def factor(self) -> float:  # type: ignore[override]
        return 1 + 1e-7 * int.from_bytes(os.urandom(1))

    stateless = True


class LastOne(FedAvg):
    stateless = True

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        every = list(replies)
        super().aggregate_train(server_round, every)
        last = next(reply for reply in reversed(every) if not reply.has_error())
        return last.content.array_records["arrays"], None


class Trusting(FedAvg):
    stateless = True

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        every = list(replies)
        arrays, metrics = super().aggregate_train(server_round, every)
        lost = any(reply.has_error() for reply in every)
        scaled = {name: array.numpy() * np.float32("nan" if lost else 1) for name, array in (arrays or {}).items()}
        return wire.record(scaled), metrics


class Content(FedAvg):
    stateless = True

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        return super().aggregate_train(server_round, [reply for reply in replies if not reply.has_error()])

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> Any:
        return super().aggregate_evaluate(server_round, [reply for reply in replies if not reply.has_error()])


class Forgetful(Scaling):
    """Counts its rounds, and says that it keeps nothing."""

    stateless = True
    rounds = 0

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        self.rounds += 1
        self.factor = 1 - 0.1 * self.rounds
        return super().aggregate_train(server_round, replies)


STRATEGIES: dict[str, Any] = {
    "settings_can_be_written_and_read": {"name": Hiding, "width": 2},
    "equal_seeds_give_equal_numbers": Unseeded,
    "order_of_replies_does_not_matter": LastOne,
    "a_lost_reply_does_no_harm": Trusting,
    "fewer_replies_than_the_quorum_end_the_run": Content,
    "a_resumed_run_gives_the_same_numbers": Forgetful,
}


def test_every_check_of_strategies_has_one_and_a_good_one_none() -> None:
    assert list(STRATEGIES) == list(strategies.KIT.functions)
    assert set(check_strategy(Plain).values()) == {"passed"}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_fails_that_check_alone(name: str) -> None:
    assert_fails(strategies.KIT, name, STRATEGIES[name])


class Untold(FedAvg):
    """Says nothing of what it keeps."""


def test_a_strategy_that_refuses_to_be_resumed_passes_with_the_reason() -> None:
    told = check_strategy(Untold)
    assert "it cannot be resumed, and says so: " in told["a_resumed_run_gives_the_same_numbers"]
    assert set(told.values()) - {told["a_resumed_run_gives_the_same_numbers"]} == {"passed"}


class Good(EndToEnd, Learner):
    """As it should be; its loss is not that of the fused step."""

    metrics = (Metric("accuracy", better="higher", fraction=True),)
    stacks = True

    def networks(self, build: Build) -> Networks:
        return Networks({"encoder": build.encoder(), "decoder": build.decoder(self.task.size, shared=True)})

    def loss(self, nets: Networks, batch: Batch, send: Send) -> torch.Tensor:
        logits = nets.decoder(send(nets.encoder(batch.images)))
        return torch.nn.functional.cross_entropy(logits, batch.labels)


class Concealing(Good):
    class Settings(StrictModel):
        width: int = Field(default=1, exclude=True)


class UnseededClient(Good):
    """Only in training, and only beyond the first round."""

    def fit(self, parameters: Any, config: Any) -> Any:
        arrays, samples, metrics = super().fit(parameters, config)
        chance = int.from_bytes(os.urandom(2))
        return [array + np.float32(1e-6 * chance * (config["server-round"] > 1)) for array in arrays], samples, metrics


class OfTheNode(Good):
    def fit(self, parameters: Any, config: Any) -> Any:
        arrays, samples, metrics = super().fit(parameters, config)
        return [array + np.float32(1e-3 * self.session.context.node_id) for array in arrays], samples, metrics


class OfTheProcess(Good):
    def fit(self, parameters: Any, config: Any) -> Any:
        arrays, samples, metrics = super().fit(parameters, config)
        return [array + np.float32("RAY_RAYLET_PID" in os.environ) for array in arrays], samples, metrics


class Remembering(Good):
    """Keeps in its class what it should save: how far it has come since the first round, which begins anew."""

    memory: ClassVar[dict[int, float]] = {}

    def fit(self, parameters: Any, config: Any) -> Any:
        arrays, samples, metrics = super().fit(parameters, config)
        before = self.memory.get(self.session.client, 0.0) if config["server-round"] > 1 else 0.0
        self.memory[self.session.client] = before + 1e-3
        return [array + np.float32(before) for array in arrays], samples, metrics


class OwnStart(Good):
    def shared(self) -> Any:
        return {name: array + np.float32(self.session.client) for name, array in super().shared().items()}


class InPlace(Good):
    def fit(self, parameters: Any, config: Any) -> Any:
        result = super().fit(parameters, config)
        if parameters and parameters[0].flags.writeable:
            parameters[0][...] = 0
        return result


class Carrying(Good):
    """Its step depends on how often the process has trained in a first round."""

    def fit(self, parameters: Any, config: Any) -> Any:
        arrays, samples, metrics = super().fit(parameters, config)
        served = self.session.cache.once("served", set[int])
        served.add(self.session.client)
        alone = served == {0} and config["server-round"] == 1
        return [array + np.float32(1e-3 * (not alone)) for array in arrays], samples, metrics


class Counting(Good):
    """Counts its tests in what it keeps."""

    def evaluate(self, parameters: Any, config: Any) -> Any:
        tests = (self.session.load("tests") or {"count": np.zeros(1)})["count"] + 1
        self.session.save("tests", {"count": tests})
        return super().evaluate(parameters, config)


class AlwaysLearning(Good):
    def score(self, nets: Networks, batch: Batch, send: Send) -> Any:
        for network in nets:
            network.train()
        return super().score(nets, batch, send)


class Idle(Good):
    def networks(self, build: Build) -> Networks:
        every = super().networks(build)
        return Networks({**every.shared, "unused": build.decoder(2, shared=True, name="unused")})

    def loss(self, nets: Networks, batch: Batch, send: Send) -> torch.Tensor:
        return super().loss(nets, batch, send) + 0 * nets.unused(nets.encoder(batch.images)).sum()


class OfTheClient(Good):
    """Its loss is one thing at one client and another at the next."""

    stacks = True

    def loss(self, nets: Networks, batch: Batch, send: Send) -> torch.Tensor:
        return super().loss(nets, batch, send) * (1 + self.session.client)


CLIENTS: dict[str, Any] = {
    "settings_can_be_written_and_read": {"name": Concealing, "width": 2},
    "equal_seeds_give_equal_numbers": UnseededClient,
    "every_number_of_nodes_gives_the_same_numbers": OfTheNode,
    "a_resumed_run_gives_the_same_numbers": Remembering,
    "clients_start_from_the_same_arrays": OwnStart,
    "what_comes_is_not_changed": InPlace,
    "nothing_is_carried_over": Carrying,
    "a_test_changes_nothing": Counting,
    "networks_learn_in_training_mode_alone": AlwaysLearning,
    "side_by_side_they_learn_as_alone": OfTheClient,
    "every_network_learns": Idle,
}


def test_every_check_of_clients_has_one_and_a_good_one_none() -> None:
    assert {*CLIENTS, "ray_gives_the_same_numbers"} == set(clients.KIT.functions)
    told = check_client(Good)
    assert told.pop("ray_gives_the_same_numbers") == "Ray is not asked for: give ray=True"
    assert set(told.values()) == {"passed"}


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_fails_that_check_alone(name: str) -> None:
    assert_fails(clients.KIT, name, CLIENTS[name])


@pytest.mark.long
@pytest.mark.flower
def test_a_client_that_knows_its_process_fails_on_ray() -> None:
    assert_fails(clients.KIT, "ray_gives_the_same_numbers", OfTheProcess, ray=True)


class Stuck(Good):
    def loss(self, nets: Networks, batch: Batch, send: Send) -> torch.Tensor:
        for network in nets:
            network.eval()
        return super().loss(nets, batch, send)


def test_learning_in_evaluation_mode_is_told() -> None:
    told = failures(clients.KIT, Stuck)
    assert "networks learn in evaluation mode in fit()" in told["networks_learn_in_training_mode_alone"]
