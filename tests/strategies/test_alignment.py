"""The federation against the same alignment in one process, on latents from files."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message
from semfed.clients.aligned_user import AlignedUser

import semfed
from semfed import overrides
from semfed.alignment.solver import Solution, align
from semfed.alignment.updates import Link, equalizer, into_ball, user_step
from semfed.alignment.wire import from_wire, to_wire
from semfed.callbacks import Callback
from semfed.engine.inprocess import InProcessGrid, flower_identity
from semfed.errors import FederationError, ScenarioError, SemfedError
from semfed.flower.adapter import make_client_app
from semfed.flower.client import Session
from semfed.flower.experiment import Experiment
from semfed.flower.federation import Federation
from semfed.flower.server import run_arm
from semfed.flower.worker import Worker
from semfed.records import Record
from semfed.scenario import Scenario
from semfed.training import one_thread

WIDTHS = {"ap": 12, "a": 12, "b": 9, "c": 8, "d": 12}
PILOTS = 200


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latents that are noisy maps of the same three dozen numbers."""
    folder, generator = tmp_path_factory.mktemp("latents"), np.random.default_rng(0)
    source = {"train": generator.standard_normal((300, 36)), "test": generator.standard_normal((80, 36))}
    for name, width in WIDTHS.items():
        map_ = generator.standard_normal((36, width))
        parts = {part: np.tanh(x @ map_ / 6).astype(np.float32) for part, x in source.items()}
        np.savez(folder / f"{name}.npz", **parts, train_labels=np.arange(300) % 10, test_labels=np.arange(80) % 10)
    return folder


@pytest.fixture(autouse=True)
def _identity() -> Iterator[None]:
    with flower_identity(), one_thread():
        yield


def load(*changes: str, arm: str = "shared", users: str = "abcd") -> Scenario:
    files = ", ".join(f'"{user}.npz"' for user in users)
    latents = f'learner.latents={{name = "files", access_point = "ap.npz", users = [{files}]}}'
    small = ["rounds=6", f"pilots={PILOTS}", "learner.classifier.epochs=1", "tolerance=0"]
    return overrides.load(overrides.load("alignment-digits", [latents, *small]), changes).arm(arm)


class Collector(Callback):
    def __init__(self) -> None:
        self.records: list[Record] = []

    def on_round(self, arm: str, seed: int, round_: int, records: Any, seconds: float) -> None:
        self.records += records

    def values(self, metric: str, client: str | None = None) -> list[float]:
        return [r.value for r in self.records if r.metric == metric and r.client == client]


def run(scenario: Scenario, root: Path, app: Any = None) -> tuple[Collector, Any]:
    collector = Collector()
    grid = InProcessGrid(app or make_client_app(), len(scenario.clients), {"data-root": str(root)})
    outcome = run_arm(grid, Experiment(scenario, scenario.strategy.settings.mode, 0), [collector])  # type: ignore[attr-defined]
    return collector, outcome


def alone(scenario: Scenario, root: Path, order: list[int], rounds: int = 6, **options: Any) -> Solution:
    """The same alignment without messages."""
    from flwr.app import Context, RecordDict

    worker, links = Worker(), []
    for client in order:
        context = Context(0, 0, {}, RecordDict(), {})
        user = AlignedUser(Session(context, Experiment(scenario, "x", 0), client, worker, root))
        links.append(user._link(user._radio("admm")))
        start = from_wire(user.shared()["F"])
    return align(links, into_ball(start, 1.0), rounds=rounds, tolerance=0, **options)


@pytest.mark.parametrize("change", ["uses=1", "uses=2", "widely_linear=true", "target_whitening=scale"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_federation_equals_one_process(root: Path, change: str, order: list[int]) -> None:
    scenario = load(change)
    collector, outcome = run(scenario, root)
    expected = alone(scenario, root, order)
    difference = outcome.arrays["Z/0"] - expected.state.feasible.numpy()
    assert np.abs(difference).max() < 1e-5
    assert collector.values("objective") == pytest.approx(expected.objectives, abs=1e-5)
    assert collector.values("residual/primal") == pytest.approx([r for r, _ in expected.residuals], abs=1e-5)
    assert collector.values("residual/dual") == pytest.approx([r for _, r in expected.residuals], abs=1e-5)


def test_multi_link_is_every_user_alone(root: Path) -> None:
    scenario = load(arm="multi-link")
    _, outcome = run(scenario, root)
    for user in range(4):
        expected = alone(scenario, root, [user]).state.feasible.numpy()
        assert np.abs(outcome.arrays[f"Z/{user}"] - expected).max() < 1e-5


@pytest.mark.parametrize("mode", ["bcd", "reference"])
def test_other_modes_run(root: Path, mode: str) -> None:
    scenario = load(f"arms.shared.strategy.mode={mode}", "rounds=12")
    collector, outcome = run(scenario, root)
    objectives = collector.values("objective")
    assert len(objectives) == 12
    if mode == "bcd":
        assert all(b <= a + 1e-5 for a, b in itertools.pairwise(objectives))
        expected = alone(scenario, root, [0, 1, 2, 3], rounds=12, mode="bcd").state.feasible.numpy()
        assert np.abs(outcome.arrays["Z/0"] - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("change", "symbols", "width", "size"), [("uses=2", 8, 6, 8), ("widely_linear=true", 8, 12, 4)]
)
def test_bytes_are_those_of_the_formula(root: Path, change: str, symbols: int, width: int, size: int) -> None:
    """Down s m numbers, up s s + s m, 8 bytes each (4 if all is real), and the white pilots once."""
    collector, _ = run(load(change, "rounds=1"), root)
    start, first = (
        [r.value for r in collector.records if r.metric == "cost/bytes_down" and r.client == "CNN-32" and r.round == k]
        for k in (0, 1)
    )
    pilots = width * PILOTS * size
    opening = len(Experiment(load(change, "rounds=1"), "x", 0).to_json())  # the scenario's text, sent once
    assert pilots < sum(start) < pilots + 2 * opening
    overhead = 1200  # names, shapes, serialisation headers, settings
    down, up = symbols * width * size, (symbols * symbols + symbols * width) * size
    assert down <= sum(first) < down + overhead
    sent = [r.value for r in collector.records if r.metric == "cost/bytes_up" and r.client == "CNN-32" and r.round == 1]
    assert up <= sum(sent) < up + overhead


def test_sizes_of_the_paper_on_the_wire() -> None:
    s, m, n = 16, 96, 42_500
    link = Link(torch.zeros(m, m, dtype=torch.complex128), 1.0, torch.eye(s, dtype=torch.complex128), 0.1)
    precoder = torch.ones(s, m, dtype=torch.complex128)
    answer = user_step(link, equalizer(link, precoder))
    assert to_wire(precoder).nbytes == 12_288
    assert sum(to_wire(matrix).nbytes for matrix in answer) == 14_336
    assert to_wire(torch.zeros(m, n, dtype=torch.complex128)).nbytes == 32_640_000


class Absent:
    """A client app whose users do not answer some rounds."""

    def __init__(self, missing: Callable[[int, int], bool]) -> None:
        self.app, self.missing = make_client_app(), missing

    def __call__(self, message: Message, context: Any) -> Message:
        config = message.content.config_records.get("config")
        user = int(context.node_config["partition-id"])
        training = config is not None and message.metadata.message_type == "train"
        if training and self.missing(user, int(str(config["server-round"]))):
            raise ConnectionError("out of sight")
        return self.app(message, context)


def test_a_user_that_misses_a_round_leaves_a_valid_step(root: Path) -> None:
    scenario = load("rounds=40")
    whole, _ = run(scenario, root)
    collector, outcome = run(scenario, root, Absent(lambda user, round_: user == 1 and round_ in (2, 3)))
    assert [r.round for r in collector.records if r.metric == "failure/train"] == [2, 3]
    assert float(np.sum(np.abs(outcome.arrays["Z/0"]) ** 2)) <= 1 + 1e-6
    assert collector.values("objective")[-1] == pytest.approx(whole.values("objective")[-1], abs=1e-2)
    assert collector.values("objective")[1] != whole.values("objective")[1]


def test_too_many_missing_users_stop_the_run(root: Path) -> None:
    with pytest.raises(FederationError, match="quorum"):
        run(load(), root, Absent(lambda user, round_: user > 0))


def test_exchange_stops_when_settled_and_tests_go_on(root: Path) -> None:
    collector, outcome = run(load("tolerance=0.02", "rounds=30"), root)
    settled = outcome.details["settled_after"]
    assert 1 < settled < 30
    assert len(collector.values("residual/primal")) == settled
    assert len(collector.values("accuracy/average")) == 30


def test_tests_can_be_rarer(root: Path) -> None:
    collector, _ = run(load("evaluate_every=4"), root)
    assert [r.round for r in collector.records if r.metric == "accuracy/average"] == [4, 6]


@pytest.mark.parametrize("arm", ["first-k", "top-k", "eigen-k", "own-latent", "unaligned"])
def test_baselines_exchange_nothing_and_are_charged_what_they_use(root: Path, arm: str) -> None:
    collector, outcome = run(load("rounds=1", "uses=1", arm=arm), root)
    assert not outcome.arrays
    assert not collector.values("objective")
    uses = sum(collector.values("cost/evaluation_channel_uses", "CNN-32"))
    assert uses == {"top-k": 160, "own-latent": 0, "unaligned": 0}.get(arm, 80)
    nmse = collector.values("nmse/average")[0]
    assert (nmse == 0) == (arm == "own-latent")
    assert outcome.details["compression_factor_percent"] == pytest.approx(100 / 6)
    assert outcome.details["symbol_ratio"] == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["pilots=6"], "pilots = 6 is too few for the 6 features of the access point"),
        (["pilots=301"], "learner.pilots = 301, but there are 300 training images"),
        (["pilot_fraction=0.02"], "pilots = 4 is too few"),
    ],
)
def test_unusable_pilots_are_told_before_anything_is_exchanged(root: Path, changes: list[str], message: str) -> None:
    with pytest.raises(SemfedError, match=message):
        run(load(*changes), root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("channel=awgn", "needs channel 'mimo'"),
        ("channel.power=sample", "the precoder keeps the power"),
        ("channel.user_snr_db=[1.0]", "has 1 values for 4 users"),
        ('learner={name = "multitask"}', "needs learner 'aligned-user'"),
        ("arms.shared.strategy.mode=reference", "'reference' is complex"),
    ],
)
def test_scenarios_that_cannot_work(change: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        overrides.load("alignment-digits", ["widely_linear=true", change])


def test_users_can_have_snrs_of_their_own(root: Path) -> None:
    same, _ = run(load("snr_db=7"), root)
    other, _ = run(load("user_snr_db=[7.0, 7.0, 7.0, 7.0]"), root)
    worse, _ = run(load("user_snr_db=[7.0, 7.0, -20.0, 7.0]"), root)
    assert same.values("objective") == other.values("objective")
    assert worse.values("nmse/digit", "CNN-32")[-1] > same.values("nmse/digit", "CNN-32")[-1]


def test_a_strategy_can_report_numbers_of_its_own(root: Path) -> None:
    scenario = load()
    grid = InProcessGrid(make_client_app(), 4, {"data-root": str(root)})
    federation = Federation(grid, Experiment(scenario, "x", 0))
    federation.drain(0)
    federation.report("objective", 3)
    federation.report("cost/bytes_down", 5.0, 1)
    told = [(r.client, r.metric, r.value) for r in federation.drain(1)]
    assert told == [("MLP-16", "cost/bytes_down", 5.0), (None, "objective", 3.0)]
    assert federation.drain(2) == []


@pytest.mark.flower
@pytest.mark.long
def test_both_engines_give_the_same_numbers(root: Path, tmp_path: Path) -> None:
    scenario = load("rounds=2")
    (tmp_path / "scenario.toml").write_text(scenario.to_toml())
    digests, histories = [], []
    for engine in ("inprocess", "flower"):
        done = semfed.run(tmp_path, engine=engine, seeds=[0], data_root=root, out=tmp_path / engine)
        digests.append((done.folder / "outcomes.jsonl").read_text())
        histories.append(sorted((done.folder / "metrics.jsonl").read_text().splitlines()))
    assert digests[0] == digests[1]
    assert [h for h in histories[0] if "cost" not in h] == [h for h in histories[1] if "cost" not in h]
