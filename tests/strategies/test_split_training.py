"""The whole exchange, message by message, against hand-written loops and itself."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Context, Error, Message, RecordDict
from torch import nn
from torch.nn.functional import cross_entropy

from semfed import scenario as scenarios
from semfed import seeding
from semfed.algorithms.contrastive import local_centroids, mean_centroids
from semfed.channels import ChannelState
from semfed.data.dataset import standardise
from semfed.engine.inprocess import InProcessGrid
from semfed.errors import FederationError, ScenarioError, SemfedError
from semfed.events.records import Record
from semfed.flower.client.app import make_client_app
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.session import Session
from semfed.flower.compat import number, task_identity
from semfed.flower.server.federation import Federation
from semfed.flower.server.run import make_strategy
from semfed.flower.trial import Trial
from semfed.scenario import overrides
from semfed.training.weights import unpack

SMALL = ["clients.count=3", "data.q=12", "training.batch_size=12", "rounds=2", "model.encoder.nf=4"]
SGD = ["training.optimizer=sgd", "training.lr=0.05", "training.momentum=0.9"]


def trial(*changes: str, arm: str = "fedcl") -> Trial:
    scenario = overrides.load(overrides.load("fedcl-digits", SMALL), changes)
    return Trial(scenario.arm(arm), arm, 0)


class Lossy(InProcessGrid):
    """A grid that lets a test spoil replies: (client, message type, how often asked) -> replacement."""

    def __init__(self, clients: int, spoil: Callable[[int, str, int, Message], Message]) -> None:
        super().__init__(make_client_app(), clients)
        self.spoil, self.asked = spoil, dict[tuple[int, str], int]()

    def exchange(
        self, nodes: Sequence[int], make: Callable[[int], Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        replies = []
        for reply in super().exchange(nodes, make, timeout=timeout):
            client, kind = reply.metadata.src_node_id - 2, reply.metadata.message_type
            count = self.asked[client, kind] = self.asked.get((client, kind), 0) + 1
            replies.append(self.spoil(client, kind, count, reply))
        return replies


@dataclass
class Ran:
    strategy: Any
    records: list[Record]
    arrays: ArrayRecord
    grid: InProcessGrid


def run(
    given: Trial, spoil: Callable[[int, str, int, Message], Message] | None = None, rounds: int | None = None
) -> Ran:
    clients = len(given.scenario.clients)
    grid = Lossy(clients, spoil) if spoil else InProcessGrid(make_client_app(), clients)
    records: list[Record] = []
    with task_identity():
        federation = Federation(grid, given)
        strategy = make_strategy(given)
        result = strategy.start(
            grid=federation,
            initial_arrays=federation.initial_arrays,
            num_rounds=rounds or given.scenario.rounds,
            evaluate_fn=lambda round_, arrays: records.extend(federation.take_records(round_)),  # type: ignore[func-returns-value]
        )
    return Ran(strategy, records, result.arrays, grid)


def values(records: list[Record], metric: str) -> dict[tuple[int, str | None], float]:
    return {(r.round, r.client): r.value for r in records if r.metric == metric}


class Reference:
    """Joint training of every client's encoder and decoder, written as a plain loop with torch's own optimiser."""

    def __init__(self, given: Trial) -> None:
        self.given, cache = given, ProcessCache()
        scenario = given.scenario
        cpu = torch.device("cpu")
        data = cache.dataset(given, None, cpu)
        clients = [learner(given, k) for k in range(len(scenario.clients))]
        self.chains = [nn.ModuleDict({"encoder": c.build_encoder(), "decoder": c.build_decoder()}) for c in clients]
        self.optimizers = [torch.optim.SGD(chain.parameters(), lr=0.05, momentum=0.9) for chain in self.chains]
        self.rows = [torch.from_numpy(cache.rows(given, None, k)) for k in range(len(scenario.clients))]
        self.images = [standardise(data.train.images[rows], data.mean, data.std) for rows in self.rows]
        self.labels = [data.train.labels[rows] for rows in self.rows]
        self.channel = scenario.channel.make()
        self.losses: dict[tuple[int, int], float] = {}

    def train(self, round_: int) -> None:
        for k, (chain, optimizer) in enumerate(zip(self.chains, self.optimizers, strict=True)):
            chain.train()
            order = torch.randperm(len(self.rows[k]), generator=self.stream("minibatches", k, round_))
            losses = []
            for step, batch in enumerate(torch.split(order, self.given.scenario.training.batch_size)):
                state = ChannelState(self.stream("uplink", k, round_, step))
                received = 2**0.5 * self.channel(chain["encoder"](self.images[k][batch]), state)
                loss = cross_entropy(chain["decoder"](received), self.labels[k][batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            self.losses[round_, k] = float(np.mean(losses))

    def share_decoder(self) -> None:
        states = [chain["decoder"].state_dict() for chain in self.chains]
        weights = [len(rows) / sum(map(len, self.rows)) for rows in self.rows]
        mean = {n: sum(w * s[n] for w, s in zip(weights, states, strict=True)) for n in states[0]}
        for chain in self.chains:
            chain["decoder"].load_state_dict(mean)

    def stream(self, purpose: str, *indices: int) -> torch.Generator:
        return seeding.torch_generator(self.given.seed, purpose, *indices)


def learner(given: Trial, client: int) -> Any:
    config = {"partition-id": client, "num-partitions": len(given.scenario.clients)}
    context = Context(run_id=0, node_id=client, node_config=config, state=RecordDict(), run_config={})
    session = Session(context, given, client, ProcessCache(), None, torch.device("cpu"))
    return given.scenario.learner.load()(session)


def kept_encoders(ran: Ran) -> list[dict[str, torch.Tensor]]:
    """Return what the clients keep to themselves, from their states."""
    given, kept = ran.strategy.trial, []
    for k, context in enumerate(ran.grid.nodes.contexts.values()):
        packed = context.state.array_records[f"{k}/training"]["encoder"].numpy()
        kept.append(unpack(packed, learner(given, k).build_encoder().state_dict()))
    return kept


CHANNELS = [
    [],
    ['channel={name="rayleigh", symbols="complex", uses=32, fading="block", receiver="mmse", snr_db=5}'],
    ['channel={name="rayleigh", symbols="complex", uses=32, fading="block", receiver="raw", snr_db=5}'],
]


@pytest.mark.parametrize("channel", CHANNELS, ids=["awgn", "rayleigh-mmse", "rayleigh-raw"])
def test_split_exchange_equals_joint_training_with_a_shared_decoder(channel: list[str]) -> None:
    """Spec: lambda = 0 without the generator is split training; with downlink noise off it is joint training."""
    # Adam would blow up the rounding errors of gradients that are nearly zero.
    given = trial("arms.fedcl.lambda_ms=0", *SGD, *channel)
    ran = run(given)
    reference = Reference(given)
    for round_ in (1, 2):
        reference.train(round_)
        reference.share_decoder()
    for half, chain in zip(ran.strategy.halves, reference.chains, strict=True):
        for name, value in chain["decoder"].state_dict().items():
            assert torch.allclose(half.decoder.state_dict()[name], value, atol=1e-6), name
    for kept, chain in zip(kept_encoders(ran), reference.chains, strict=True):
        for name, value in chain["encoder"].state_dict().items():
            assert torch.allclose(kept[name], value, atol=1e-6), name  # batch statistics among them
    names = [client.name for client in given.scenario.clients]
    losses = values(ran.records, "train_loss/own-classes")
    for (round_, k), loss in reference.losses.items():
        assert losses[round_, names[k]] == pytest.approx(loss, abs=1e-5)


def test_local_decoders_without_regulariser_are_local_only_training() -> None:
    split = run(trial("arms.fedproto.lambda_ms=0", "arms.fedproto.original=true", arm="fedproto")).records
    local = run(trial(arm="local")).records
    for metric in ("loss/own-classes", "accuracy/own-classes"):
        alone = values(local, metric)
        assert len(alone) == 6
        assert values(split, metric) == pytest.approx(alone, abs=1e-5)


def test_federated_averaging_is_the_mean_of_what_the_clients_trained() -> None:
    given = trial('data.partition={name="counts", counts=[[24, 12], [0, 0, 12, 24, 12], [9, 9, 9, 9]]}', arm="fedavg")
    sent = list[ArrayRecord]()

    def keep(client: int, kind: str, count: int, reply: Message) -> Message:
        if kind == "train":
            sent.append(reply.content["arrays"])
        return reply

    ran = run(given, keep, rounds=1)
    samples = [36, 48, 36]
    for name, array in ran.arrays.items():
        parts = [record[name].numpy() for record in sent]
        if np.issubdtype(parts[0].dtype, np.integer):
            continue
        mean = sum(n / 120 * part for n, part in zip(samples, parts, strict=True))
        assert np.allclose(array.numpy(), mean, atol=1e-6), name
        assert not any(np.array_equal(part, parts[0]) for part in parts[1:]), name


def test_batch_statistics_are_updated_once_a_step() -> None:
    ran = run(trial(), rounds=1)
    for kept in kept_encoders(ran):
        assert int(kept["3.num_batches_tracked"]) == 3  # 36 samples in minibatches of 12


def test_encoders_differ_after_a_round_and_decoders_do_not() -> None:
    ran = run(trial(), rounds=1)
    first, second, third = (kept["0.weight"] for kept in kept_encoders(ran))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    decoders = [half.decoder.state_dict() for half in ran.strategy.halves]
    assert all(torch.equal(decoders[0][n], other[n]) for other in decoders[1:] for n in decoders[0])


def test_messages_and_channel_uses_of_a_round() -> None:
    asked = dict[tuple[int, str], int]()

    def watch(client: int, kind: str, count: int, reply: Message) -> Message:
        asked[client, kind] = count
        return reply

    records = run(trial(), watch, rounds=1).records
    assert asked[1, "train.forward"] == 1
    assert asked[1, "train.backward"] == 3
    up_and_down = values(records, "cost/channel_uses")
    down = values(records, "cost/channel_uses_down")
    assert {value for (r, _), value in up_and_down.items() if r == 1} == {2 * 36 * 32}
    assert {value for (r, _), value in down.items() if r == 1} == {36 * 32}


def test_first_client_alone_sees_no_prototypes_and_later_rounds_use_their_mean() -> None:
    given = trial(arm="fedproto")
    strategy = make_strategy(given)
    assert not strategy.centroids().known.any()
    random = torch.Generator().manual_seed(0)
    local = [
        local_centroids(torch.randn(8, 64, generator=random), torch.randint(3, (8,), generator=random), 10)
        for _ in range(2)
    ]
    strategy.learn(local)
    assert torch.equal(strategy.centroids().values, mean_centroids(local).values)
    strategy.learn([local_centroids(torch.ones(2, 64), torch.tensor([7, 7]), 10)])
    assert strategy.centroids().known.tolist() == [True] * 3 + [False] * 4 + [True] + [False] * 2


@pytest.mark.parametrize("arm", ["fedcl", "fedproto"])
def test_server_state_goes_through_named_arrays(arm: str) -> None:
    given = trial(arm=arm)
    strategy = run(given, rounds=1).strategy
    copy = make_strategy(given)
    before = {name: array.copy() for name, array in copy.learned().items()}
    copy.restore(strategy.learned())
    assert copy.learned().keys() == before.keys()
    assert all(np.array_equal(copy.learned()[name], array) for name, array in strategy.learned().items())
    assert any(not np.array_equal(before[name], array) for name, array in strategy.learned().items())


def dropped(lost: int, message_type: str, on: int) -> Callable[[int, str, int, Message], Message]:
    def spoil(client: int, kind: str, count: int, reply: Message) -> Message:
        if (client, kind) != (lost, message_type) or count != on:
            return reply
        return Message(Error(0, "the battery is empty"), reply_to=_asked(reply))

    return spoil


def _asked(reply: Message) -> Message:
    """Return something to reply to: the message that this reply answers, as far as its metadata tell."""
    message = Message(reply.content, reply.metadata.src_node_id, reply.metadata.message_type)
    return number(message, reply.metadata.reply_to_message_id)


@pytest.mark.parametrize("arm", ["fedcl", "fedproto"])
def test_client_that_drops_out_midway_leaves_the_server_as_if_it_had_not_been_asked(arm: str) -> None:
    midway = run(trial(arm=arm), dropped(1, "train.backward", 2), rounds=1)
    absent = run(trial(arm=arm), dropped(1, "train.forward", 1), rounds=1)
    expected = absent.strategy.learned()
    assert all(np.array_equal(array, expected[name]) for name, array in midway.strategy.learned().items())
    assert [r.note for r in midway.records if r.metric.startswith("failure/")] == ["the battery is empty"]
    assert [name for _, name in values(midway.records, "train_loss/own-classes")] == ["client 1", "client 3"]


def test_client_that_dropped_out_takes_part_in_the_next_round() -> None:
    records = run(trial(), dropped(1, "train.backward", 2)).records
    assert (2, "client 2") in values(records, "train_loss/own-classes")


def test_features_that_are_not_finite_are_refused_and_the_client_named() -> None:
    def spoil(client: int, kind: str, count: int, reply: Message) -> Message:
        if (client, kind, count) == (2, "train.backward", 1):
            features = reply.content["arrays"]["features"].numpy().copy()
            features[0, 0] = np.nan
            labels = reply.content["arrays"]["labels"]
            reply.content["arrays"] = ArrayRecord({"features": Array(features), "labels": labels})
        return reply

    ran = run(trial(), spoil, rounds=1)
    failures = [(r.client, r.note) for r in ran.records if r.metric.startswith("failure/")]
    assert failures == [("client 3", "array 'features' has values that are not finite")]
    assert all(np.isfinite(array).all() for array in ran.strategy.learned().values())


def test_a_client_that_sends_nothing_at_all_has_not_answered() -> None:
    def spoil(client: int, kind: str, count: int, reply: Message) -> Message:
        if (client, kind) == (0, "train.forward"):
            reply.content["arrays"] = ArrayRecord()
        return reply

    ran = run(trial(), spoil, rounds=1)
    assert [name for _, name in values(ran.records, "train_loss/own-classes")] == ["client 2", "client 3"]


def test_a_client_without_images_is_named() -> None:
    counts = 'data.partition={name="counts", counts=[[24, 12], [0], [9, 9]]}'
    with pytest.raises(SemfedError, match="'client 2' has no training image"):
        run(trial(counts))


def test_labels_out_of_range_are_refused() -> None:
    def spoil(client: int, kind: str, count: int, reply: Message) -> Message:
        if (client, kind) == (0, "train.forward"):
            labels = reply.content["arrays"]["labels"].numpy() + 10
            features = reply.content["arrays"]["features"]
            reply.content["arrays"] = ArrayRecord({"features": features, "labels": Array(labels)})
        return reply

    records = run(trial(), spoil, rounds=1).records
    assert [(r.client, r.note) for r in records if r.metric.startswith("failure/")] == [
        ("client 1", "labels are not classes 0 .. 9")
    ]


def test_too_few_clients_at_the_end_of_a_round_stop_the_run() -> None:
    def spoil(client: int, kind: str, count: int, reply: Message) -> Message:
        lost = kind == "train.backward" and (client, count) in ((0, 1), (1, 2))
        return Message(Error(0, "gone"), reply_to=_asked(reply)) if lost else reply

    with pytest.raises(FederationError, match=r"1 of 3 clients .* 'client 1', 'client 2'"):
        run(trial(), spoil, rounds=1)


def test_gradient_for_another_minibatch_is_refused() -> None:
    given = trial()
    client = learner(given, 0)
    features = client.forward([], {"server-round": 1})[0]["features"]
    with pytest.raises(FederationError, match=r"round 1, minibatch 1, but awaits that of round 1, minibatch 0"):
        client.backward([features], {"server-round": 1, "minibatch": 1})


def test_noise_on_the_downlink_changes_the_encoders() -> None:
    noisy = 'arms.fedcl.downlink={name="awgn", symbols="complex", snr_db=0}'
    clean, disturbed = (kept_encoders(run(trial(*more), rounds=1)) for more in ([], [noisy]))
    assert not torch.equal(clean[0]["0.weight"], disturbed[0]["0.weight"])


FIVE_ENCODERS = (
    '{ name = "dcgan", nf = 4 }',
    '{ name = "dcgan", nf = 6 }',
    '{ name = "lenet", channels = [4, 8], hidden = 32 }',
    '{ name = "mlp", hidden = [32] }',
    '{ name = "mlp" }',
)


def test_five_different_architectures_train_together(tmp_path: Path) -> None:
    text = scenarios.locate("fedcl-digits").read_text()
    before, _, after = text.partition("[clients]")
    clients = "".join(
        f'[[clients]]\nname = "client {k}"\ntask = "own-classes"\nencoder = {encoder}\n'
        for k, encoder in enumerate(FIVE_ENCODERS)
    )
    arms = after[after.index("[model.encoder]") : after.index('[[arms]]\nname = "fedavg"')]
    (tmp_path / "scenario.toml").write_text(before + clients + arms)
    scenario = overrides.load(tmp_path, ["rounds=2", "data.q=12"])
    ran = run(Trial(scenario.arm("fedcl"), "fedcl", 0))
    losses = values(ran.records, "train_loss/own-classes")
    assert len(losses) == 10
    for client in scenario.clients:
        assert losses[2, client.name] < losses[1, client.name]
    shapes = {frozenset((name, value.shape) for name, value in kept.items()) for kept in kept_encoders(ran)}
    assert len(shapes) == 5


def test_different_encoders_are_not_averaged(tmp_path: Path) -> None:
    text = scenarios.locate("fedcl-digits").read_text()
    (tmp_path / "scenario.toml").write_text(text.replace("count = 5", 'count = 5\nencoder = { name = "mlp" }'))
    with pytest.raises(ScenarioError, match="encoder of its own, which cannot be averaged"):
        overrides.load(tmp_path)


def test_further_test_snrs_are_measured_in_the_last_round_only() -> None:
    records = run(trial("learner.test_snr_db=[-5, 20]")).records
    found = {r.round for r in records if r.metric == "accuracy-at--5dB/own-classes"}
    assert found == {2}
    assert values(records, "accuracy-at-20dB/own-classes").keys() == {(2, f"client {k}") for k in (1, 2, 3)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["arms.fedcl.lambda_ms=-1"], "lambda_ms"),
        (["arms.fedavg.exchange=maybe"], "exchange"),
        (["channel.uses=0"], "channel.uses"),
        (['model.encoder={name="lenet", channels=[0, 4]}'], "channels"),
    ],
)
def test_bad_settings_are_named(changes: list[str], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        overrides.load("fedcl-digits", changes)
