"""The federation against the same alignment in one process, on latents from files."""

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message
from semfed.clients.aligned_user import AlignedUser
from semfed.strategies.alignment import AlignmentStrategy

import semfed
from semfed.algorithms.alignment.solver import Solution, align
from semfed.algorithms.alignment.updates import UserStatistics, equalizer, into_ball, user_step
from semfed.algorithms.alignment.wire import from_wire, to_wire
from semfed.engine.inprocess import InProcessGrid
from semfed.errors import FederationError, ScenarioError, SemfedError
from semfed.events.callbacks import Callback
from semfed.events.records import Record
from semfed.flower.client.app import make_client_app
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.session import Session
from semfed.flower.compat import task_identity
from semfed.flower.server.federation import Federation
from semfed.flower.server.run import run_arm
from semfed.flower.trial import Trial
from semfed.scenario import Scenario, overrides
from semfed.training.isolation import isolated

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
    with task_identity(), isolated():
        yield


def load(*changes: str, arm: str = "shared", users: str = "abcd") -> Scenario:
    files = ", ".join(f'"{user}.npz"' for user in users)
    source = f'name = "files", access_point = "ap.npz", users = [{files}], classifier_share = 0.3'
    latents = f"learner.latents={{{source}}}"
    small = ["rounds=6", f"pilots={PILOTS}", "learner.classifier.epochs=1", "tolerance=0", "relative_tolerance=0"]
    small += ["evaluate_every=1"]
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
    outcome = run_arm(grid, Trial(scenario, scenario.strategy.settings.mode, 0), [collector])  # type: ignore[attr-defined]
    return collector, outcome


def alone(scenario: Scenario, root: Path, order: list[int], rounds: int = 6, **options: Any) -> Solution:
    """The same alignment without messages."""
    from flwr.app import Context, RecordDict

    cache, links = ProcessCache(), []
    for client in order:
        context = Context(0, 0, {}, RecordDict(), {})
        user = AlignedUser(Session(context, Trial(scenario, "x", 0), client, cache, root))
        links.append(user._link(user._radio("admm")))
        start = from_wire(user.shared()["F"])
    return align(links, into_ball(start, 1.0), rounds=rounds, tolerance=0, relative_tolerance=0, **options)


@pytest.mark.parametrize("change", ["uses=1", "uses=2", "widely_linear=true", "target_whitening=scale"])
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_federation_equals_one_process(root: Path, change: str, order: list[int]) -> None:
    scenario = load(change)
    collector, outcome = run(scenario, root)
    expected = alone(scenario, root, order)
    difference = outcome.arrays["Z/0"] - expected.state.feasible.numpy()
    assert np.abs(difference).max() < 1e-5
    assert collector.values("objective") == pytest.approx(expected.objectives, abs=1e-5)
    assert collector.values("admm/primal-residual") == pytest.approx([r for r, _ in expected.residuals], abs=1e-5)
    assert collector.values("admm/dual-residual") == pytest.approx([r for _, r in expected.residuals], abs=1e-5)


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
    assert sum(start) == width * PILOTS * size
    header = 128  # and the names "F", "0" and "1"
    down, up = symbols * width * size + header + 1, (symbols * symbols + symbols * width) * size + 2 * (header + 1)
    assert sum(first) == down
    sent = [r.value for r in collector.records if r.metric == "cost/bytes_up" and r.client == "CNN-32" and r.round == 1]
    assert sum(sent) == up


def test_eigen_k_pays_for_the_directions_that_users_tell(root: Path) -> None:
    """Four users tell 2 N_T K = 8 directions among an access point's 12 real features, float32."""
    collector, _ = run(load("arms.shared.strategy.mode=eigen-k", "rounds=1"), root)
    told = [r.value for r in collector.records if r.metric == "cost/bytes_up"]
    assert told == [4 * 8 * 12] * 4


def test_sizes_of_the_paper_on_the_wire() -> None:
    s, m, n = 16, 96, 42_500
    link = UserStatistics(torch.zeros(m, m, dtype=torch.complex128), 1.0, torch.eye(s, dtype=torch.complex128), 0.1)
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
    assert outcome.details["converged"] is True
    assert collector.values("admm/converged") == [0.0] * (settled - 1) + [1.0]
    assert collector.values("admm/rounds") == list(range(1, settled + 1))
    limit = 0.02 * math.sqrt(4 * 6)
    pairs = zip(collector.values("admm/primal-residual"), collector.values("admm/dual-residual"), strict=True)
    assert [max(pair) < limit for pair in pairs] == [False] * (settled - 1) + [True]
    assert len(collector.values("accuracy/average")) == 30


def test_the_preset_ends_at_the_optimum(root: Path) -> None:
    """Its objective against a long descent; thirty rounds leave it ten times as far off."""
    scenario = overrides.load("alignment-digits", ["evaluate_every=500"]).arm("shared")
    collector, outcome = run(scenario, root)
    everyone = [0, 1, 2, 3]
    long = alone(scenario, root, everyone, rounds=1000, mode="bcd").objectives[-1]
    assert outcome.details["converged"] is True
    assert 0 <= collector.values("objective")[-1] / long - 1 < 3e-4
    assert alone(scenario, root, everyone, rounds=30).objectives[-1] / long - 1 > 1e-3


def test_rounds_that_were_too_few_are_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    collector, outcome = run(load("tolerance=1e-6", "rounds=5"), root)
    assert outcome.details["converged"] is False
    assert collector.values("admm/converged") == [0.0] * 5
    assert "residuals are above their tolerances after 5 rounds" in caplog.text


def test_the_relative_tolerance_counts_both_residuals(root: Path) -> None:
    """The dual one is measured against rho times the dual, which is small here at rho = 1 and large at 0.01."""
    for rho, converged in ((1.0, False), (0.01, True)):
        _, outcome = run(load("relative_tolerance=0.1", "rounds=30", f"rho={rho}"), root)
        assert outcome.details["converged"] == converged


def test_a_run_that_goes_on_after_it_settled_exchanges_nothing_more(root: Path) -> None:
    """Its memory says so: a strategy that takes a settled state over sends no precoder."""
    scenario = load("tolerance=0.02", "rounds=30")
    strategy = AlignmentStrategy(Trial(scenario, "x", 0), scenario.strategy.settings)  # type: ignore[arg-type]
    strategy.restore({}, {"settled": np.array(7)})
    assert list(strategy.configure_train(8, None, None, None)) == []  # type: ignore[arg-type]
    assert strategy.details()["converged"] is True


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
        (["pilots=211"], "learner.pilots = 211, but 210 of 300 training images can be pilots"),
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
    federation = Federation(grid, Trial(scenario, "x", 0))
    federation.take_records(0)
    federation.report("objective", 3)
    federation.report("cost/bytes_down", 5.0, 1)
    told = [(r.client, r.metric, r.value) for r in federation.take_records(1)]
    assert told == [("MLP-16", "cost/bytes_down", 5.0), (None, "objective", 3.0)]
    assert federation.take_records(2) == []


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


def test_every_user_has_the_noise_of_its_own_snr(root: Path, capture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of 10 ** (-snr / 10) a received symbol, for unit power per transmitted one; what is told agrees."""
    noted = capture(monkeypatch, "mimo")
    asked = {"MLP-24": -10.0, "MLP-16": 0.0, "CNN-32": 10.0, "tanh-MLP-24": 20.0}
    collector, _ = run(load("rounds=2", f"channel.user_snr_db={list(asked.values())}"), root)
    for name, snr_db in asked.items():
        assert noted[snr_db]
        for one in noted[snr_db]:
            assert -10 * math.log10(one.noise) == pytest.approx(snr_db, abs=one.tolerance_db)
        last = noted[snr_db][-1]
        assert collector.values("power/transmit", name)[-1] == pytest.approx(last.sent, rel=1e-4)
        told = collector.values("snr/received-db", name)[-1]
        assert told == pytest.approx(10 * math.log10(last.arrived / last.noise), abs=1e-3)
