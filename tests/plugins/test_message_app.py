"""A plain message-API ClientApp of somebody else's, served by our strategies: in this process, and by Flower itself."""

import os
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from semfed.strategies.clustered import ClusteredStrategy

from semfed.engine.inprocess import InProcessGrid
from semfed.errors import FederationError, ScenarioError
from semfed.flower.server.plain import PlainFederation

APP = Path(__file__).with_name("message-app")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, identity: None) -> tuple[ModuleType, ModuleType]:
    """The app's two modules."""
    monkeypatch.syspath_prepend(APP)
    from message_app import client_app, server_app  # type: ignore[import-not-found]

    return client_app, server_app


class Listening(InProcessGrid):
    """Keeps what is sent."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.heard: list[Message] = []

    def exchange(self, nodes: Any, make: Callable[[int], Message], *, timeout: float | None = None) -> Any:
        def note(k: int) -> Message:
            self.heard.append(make(k))
            return self.heard[-1]

        return super().exchange(nodes, note, timeout=timeout)


def test_it_averages_as_flower_does(parts: tuple[ModuleType, ModuleType]) -> None:
    client, server = parts
    theirs = FedAvg().start(InProcessGrid(client.app, 3), server.initial(), num_rounds=3)
    federation = PlainFederation(InProcessGrid(client.app, 3), 3)
    ours = federation.strategy("fedavg").start(federation, server.initial(), num_rounds=3)
    for name, array in theirs.arrays.items():
        np.testing.assert_allclose(ours.arrays[name].numpy(), array.numpy(), rtol=0, atol=1e-6)
    for round_, metrics in theirs.evaluate_metrics_clientapp.items():
        told = ours.evaluate_metrics_clientapp[round_]
        assert told["accuracy"] == pytest.approx(metrics["accuracy"], abs=1e-12)
    assert ours.evaluate_metrics_clientapp[3]["accuracy"] > 0.5
    assert ours.train_metrics_clientapp[1]["train_loss"] > ours.train_metrics_clientapp[3]["train_loss"]


def test_messages_hold_what_flowers_own_strategies_send(parts: tuple[ModuleType, ModuleType]) -> None:
    client, server = parts
    grids = Listening(client.app, 2), Listening(client.app, 2)
    FedAvg().start(grids[0], server.initial(), num_rounds=1)
    federation = PlainFederation(grids[1], 2)
    federation.strategy({"name": "clustered", "clusters": "individual"}).start(federation, server.initial(), 1)
    theirs, ours = (
        [(m.metadata.message_type, sorted(m.content), sorted(m.content["config"])) for m in grid.heard]
        for grid in grids
    )
    assert ours == theirs
    assert len(ours) == 4


def test_clusters_follow_from_what_clients_tell_of_their_labels(parts: tuple[ModuleType, ModuleType]) -> None:
    client, server = parts
    tasks = {"even": {"values": {"even": [0, 2, 4, 6, 8], "odd": [1, 3, 5, 7, 9]}}}
    federation = PlainFederation(InProcessGrid(client.app, 3), dict.fromkeys("abc", "even"), tasks=tasks, numbered=True)
    strategy = federation.strategy({"name": "clustered", "threshold": 0.9})
    strategy.start(federation, server.initial(), num_rounds=1)
    assert isinstance(strategy, ClusteredStrategy)
    assert strategy.clusters == [[0, 1, 2]], "all have about as many even digits as odd ones"
    assert [(name, value) for name, value, _ in federation.reported] == [("cost/bytes_up", 16.0)] * 3


def test_a_cluster_of_one_trains_alone(parts: tuple[ModuleType, ModuleType]) -> None:
    client, server = parts
    nodes = InProcessGrid(client.app, 3)
    federation = PlainFederation(nodes, 3)
    strategy = federation.strategy({"name": "clustered", "clusters": "individual"})
    arrays = strategy.start(federation, server.initial(), num_rounds=2).arrays
    context = nodes.nodes.contexts[4]
    alone = server.initial()
    for _ in range(2):
        asked = Message(RecordDict({"arrays": alone, "config": ConfigRecord()}), 4, "train")
        alone = client.app(asked, context).content["arrays"]
    for name, array in alone.items():
        assert np.array_equal(arrays[f"2/{name}"].numpy(), array.numpy())


def test_who_trains_follows_from_the_seed(parts: tuple[ModuleType, ModuleType]) -> None:
    client, server = parts

    def sampled(seed: int) -> list[int]:
        grid = Listening(client.app, 8)
        federation = PlainFederation(grid, 8, seed=seed)
        table = {"name": "fedavg", "fraction_train": 0.25, "fraction_evaluate": 0}
        federation.strategy(table).start(federation, server.initial(), num_rounds=3)
        return [message.metadata.dst_node_id for message in grid.heard]

    assert len(sampled(0)) == 6
    assert sampled(0) == sampled(0) != sampled(1)


def odd(change: Callable[[dict[str, Any]], None]) -> ClientApp:
    """Return an app whose second client breaks the contract."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 3})
        reply: dict[str, Any] = {"arrays": message.content["arrays"], "metrics": metrics}
        if context.node_config["partition-id"] == 1:
            change(reply)
        return Message(RecordDict(reply), reply_to=message)

    return app


BROKEN: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda reply: reply.pop("metrics"), "the reply has no MetricRecord 'metrics'"),
    (lambda reply: reply.pop("arrays"), "the reply has no arrays"),
    (lambda reply: reply.update(metrics=MetricRecord()), "metric 'num-examples' is None: give a number above 0"),
    (lambda reply: reply.update(metrics=MetricRecord({"num-examples": 0})), "metric 'num-examples' is 0: give a"),
    (
        lambda reply: reply.update(metrics=MetricRecord({"num-examples": 1, "each": [0.1, 0.2]})),
        "metric 'each' is a list, which has no mean: put it into a ConfigRecord",
    ),
    (lambda reply: reply.update(arrays=ArrayRecord([np.zeros(2)])), "arrays ['0'] instead of ['weight', 'bias']"),
    (lambda reply: 1 / 0, "ZeroDivisionError: division by zero"),
]


@pytest.mark.parametrize(("change", "sentence"), BROKEN, ids=[line[1] for line in BROKEN])
def test_a_reply_that_breaks_the_contract_is_told_of(
    change: Any, sentence: str, parts: tuple[ModuleType, ModuleType]
) -> None:
    table = {"name": "fedavg", "fraction_evaluate": 0}
    federation = PlainFederation(InProcessGrid(odd(change), 3), 3)
    result = federation.strategy(table).start(federation, parts[1].initial(), num_rounds=1)
    assert np.array_equal(result.arrays["bias"].numpy(), parts[1].initial()["bias"].numpy())
    ((client, phase, reason),) = federation.failures
    assert (client, phase) == ("client 2", "train")
    assert sentence in reason
    federation = PlainFederation(InProcessGrid(odd(change), 3), 3)
    with pytest.raises(FederationError, match="2 of 3 clients gave a usable reply and the quorum is 3") as caught:
        federation.strategy(table | {"quorum": 1.0}).start(federation, parts[1].initial(), num_rounds=1)
    assert sentence in str(caught.value)


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    ("fedcl", {}, "strategy 'fedcl' trains by 'forward', which a plain ClientApp does not know"),
    ("alignment", {}, "strategy 'alignment' needs learner 'aligned-user'"),
    ("flwr.serverapp.strategy:FedMedian", {}, "is Flower's own, which takes any ClientApp"),
    ({"name": "fedavg", "exchange": False}, {}, "learner 'a plain ClientApp' keeps no whole model to go on from"),
    ({"name": "fedavg", "fraction": 1}, {}, "unknown setting 'fraction'; did you mean 'fraction_train'?"),
    ("fedavgg", {}, "no plugin 'fedavgg' among the strategies; did you mean 'fedavg'?"),
    ("clustered", {"clients": 2}, "2 clients have no midpoint of similarities"),
    ("fedavg", {"clients": {"a": "x"}, "tasks": {"y": {"values": [1], "rest": "z"}}}, "has the unknown task 'x'"),
    ("fedavg", {"clients": 0}, "clients = 0: give their number"),
    ("fedavg", {"clients": 4, "timeout": 0.0}, "3 of 4 nodes are here after 0 s"),
    ("fedavg", {"clients": 1}, "there are 3 nodes for 1 clients: give clients = 3"),
    ("fedavg", {"app": odd(dict), "numbered": True}, "does not answer a query with a ConfigRecord 'node'"),
]


@pytest.mark.parametrize(("choice", "given", "sentence"), REFUSED, ids=[line[2] for line in REFUSED])
def test_what_cannot_work_is_refused_in_a_sentence(
    choice: Any, given: dict[str, Any], sentence: str, parts: tuple[ModuleType, ModuleType]
) -> None:
    options = {"clients": 3, **given}
    nodes = 2 if choice == "clustered" else 3
    grid: Grid = InProcessGrid(options.pop("app", parts[0].app), nodes)
    with pytest.raises((ScenarioError, FederationError)) as caught:
        PlainFederation(grid, **options).strategy(choice)
    assert sentence in str(caught.value)


@pytest.mark.long
@pytest.mark.flower
def test_flowers_simulation_gives_the_same_numbers(
    parts: tuple[ModuleType, ModuleType], flower_home: dict[str, str], tmp_path: Path
) -> None:
    """`flwr run` of the app as it stands, with the default federation of two SuperNodes."""
    client, server = parts
    config = {"clients": 2, "rounds": 3, "out": str(tmp_path / "here.npz")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another number of threads have other last digits
    try:
        server.app(InProcessGrid(client.app, 2), Context(0, 1, {}, RecordDict(), config))
    finally:
        torch.set_num_threads(threads)
    scripts = sysconfig.get_path("scripts")
    done = subprocess.run(
        [Path(scripts) / "flwr", "run", APP, "--stream", "--run-config", f"out='{tmp_path / 'there.npz'}'"],
        cwd=tmp_path,
        env={
            **os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1", **flower_home
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "there.npz").is_file(), done.stdout + done.stderr
    here, there = (np.load(tmp_path / name) for name in ("here.npz", "there.npz"))
    assert set(here) == set(there) == {"weight", "bias", "accuracies"}
    assert len(here["accuracies"]) == 3
    assert here["accuracies"][-1] > 0.5
    for name in here:
        assert np.array_equal(here[name], there[name]), name
