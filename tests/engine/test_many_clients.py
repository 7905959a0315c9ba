"""Forty clients of unequal size, more than are summed in a row: every strategy gives the same bits on every engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import tomli_w

import semfed
from semfed.checkpoint import files
from semfed.scenario import plugins

CLIENTS = 40
CHANNEL = {"name": "awgn", "symbols": "complex", "uses": 8, "power": "sample", "snr_db": 0}
SPLIT = {"name": "split", "test_per_class": 5}
JOINT = {"name": "joint", "test_per_class": 5}
PRECISE = {"name": "precise:PreciseClient"}
GIVEN = [list(range(1)), list(range(1, 12)), list(range(12, 40, 2)), list(range(13, 40, 2))]
"""Clusters of 1, 11, 14 and 14: alone, neighbours, and such as are torn apart."""
UNIT = {
    "name": "cooperative",
    "tasks": ["two", "digit"],
    "lambda_eff": 0.01,
    "auxiliary": {"name": "mlp", "hidden": [8]},
    "dre": {"centres": 5},
    "specific": {"name": "mlp", "hidden": [8], "outputs": 8, "final_relu": True},
    "common": {"rounds": 1, "epochs": 1, "lr": 0.001, "outputs": 8},
}
UNITS = {
    "learner": UNIT,
    "model": {
        "encoder": {"name": "mlp", "hidden": [16], "outputs": 16, "final_relu": True},
        "decoder": {"name": "proportional", "fractions": [1.0]},
    },
    "channel": {"name": "awgn", "uses": 8, "power": "none", "snr_db": 0},
}
RECEIVERS = {
    "learner": {"name": "multi-receiver", "tasks": ["two", "digit"]},
    "model": {"decoder": {"name": "proportional", "fractions": [1.0]}},
    "channel": {"name": "rayleigh", "uses": 8, "power": "sample", "snr_db": 3.0},
}
USERS = {
    "learner": {
        "name": "aligned-user",
        "pilots": 60,
        "latents": {"name": "trained", "access_point_images": 60},
        "classifier": {"epochs": 1, "batch_size": 20, "optimizer": "adam", "lr": 0.01},
    },
    "model": {"encoder": {"name": "mlp", "hidden": [16], "outputs": 8}, "decoder": "latent-classifier"},
    "channel": {"name": "mimo", "uses": 1, "transmit_antennas": 4, "receive_antennas": 4, "snr_db": 20},
}
SAMPLED = {"fraction_train": 0.6, "fraction_evaluate": 0.3}
FLOWERS = "flwr.serverapp.strategy:"
ARMS: dict[str, dict[str, Any]] = {  # averages after others: an actor that is new to a run sums little
    "local": {"learner": JOINT, "strategy": {"name": "fedavg", "exchange": False}},
    "fedcl": {"learner": SPLIT, "strategy": "fedcl"},
    "fedproto": {"learner": SPLIT, "strategy": "fedproto"},
    "similarity": {"strategy": {"name": "clustered", "clusters": "similarity"}},
    "one": {"learner": PRECISE, "strategy": {"name": "clustered", "clusters": "one", "weighted": True}},
    "individual": {"strategy": {"name": "clustered", "clusters": "individual"}},
    "given": {"learner": PRECISE, "strategy": {"name": "clustered", "clusters": GIVEN, "weighted": True}},
    "fedavg": {"learner": PRECISE, "strategy": "fedavg"},
    "fedavg-sampled": {"learner": PRECISE, "strategy": {"name": "fedavg", **SAMPLED}},
    "fedavg-joint": {"learner": JOINT, "strategy": "fedavg"},
    "stock": {"learner": PRECISE, "strategy": f"{FLOWERS}FedAvg"},
    "stock-sampled": {"learner": PRECISE, "strategy": {"name": f"{FLOWERS}FedAvg", **SAMPLED}},
    "stock-adam": {"strategy": {"name": f"{FLOWERS}FedAdam", **SAMPLED}},
    "cooperative": {**UNITS, "strategy": {"name": "clustered", "clusters": GIVEN}},
    "cooperative-fedavg": {**UNITS, "strategy": "fedavg"},
    "receivers": {**RECEIVERS, "strategy": {"name": "clustered", "clusters": "one", "weighted": True}},
    "receivers-sampled": {**RECEIVERS, "strategy": {"name": "fedavg", **SAMPLED}},
    "alignment": {**USERS, "strategy": "alignment"},
    "multi-link": {**USERS, "strategy": {"name": "alignment", "mode": "multi-link"}},
}
QUICK = ("given", "fedavg", "fedavg-sampled", "stock-sampled")
PLUGINS = Path(__file__).parents[1] / "plugins"


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clients with 20, 30 or 40 images, half of them mostly of even digits, half of odd ones."""
    counts = [[1 + k % 3 + 2 * (digit % 2 == k % 2) for digit in range(10)] for k in range(CLIENTS)]
    tree = {
        "name": "forty",
        "rounds": 2,
        "seeds": [0],
        "data": {"source": "digits", "partition": {"name": "counts", "counts": counts}},
        "tasks": {"digit": {"values": list(range(10))}, "two": {"values": [2], "rest": "other"}},
        "clients": {"count": CLIENTS, "task": "digit"},
        "model": {"encoder": {"name": "mlp", "hidden": [64]}, "decoder": {"name": "mlp", "hidden": [16]}},
        "channel": CHANNEL,
        "training": {"batch_size": 20, "optimizer": "adam", "lr": 0.003},
        "learner": "multitask",
        "strategy": "clustered",
        "arms": [{"name": name, **changes} for name, changes in ARMS.items()],
    }
    path = tmp_path_factory.mktemp("forty") / "scenario.toml"
    path.write_text(tomli_w.dumps(tree))
    return path


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> Iterator[None]:
    """Let this process and those that it starts find the plugins of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PLUGINS))
        patch.syspath_prepend(PLUGINS)
        yield


@pytest.fixture(scope="module")
def cluster(_plugins: None) -> Iterator[None]:
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def numbers(scenario: Path, out: Path, **options: Any) -> dict[str, list[str]]:
    """Return, by arm, the lines of metrics and of outcomes with digests of the final parameters, and kept networks."""
    folder = semfed.run(scenario, out=out, **options).folder
    lines = [line for name in ("metrics.jsonl", "outcomes.jsonl") for line in (folder / name).read_text().splitlines()]
    arms = options.get("arms") or ARMS
    kept = {arm: sorted((folder / "models" / f"{arm}-seed0").iterdir()) for arm in arms}
    return {
        arm: [line for line in lines if line.startswith(f'{{"arm": "{arm}"')]
        + [f"{path.name} {files.digest(path.read_bytes())}" for path in kept[arm]]
        for arm in arms
    }


def test_every_strategy_is_compared() -> None:
    compared = {plugins.parse("strategies", arm["strategy"]).name for arm in ARMS.values()}
    assert set(plugins.available("strategies")) <= compared


@pytest.mark.flower
def test_averages_of_forty_clients_do_not_depend_on_who_sums(cluster: None, scenario: Path, tmp_path: Path) -> None:
    expected = numbers(scenario, tmp_path / "inprocess", arms=QUICK)
    assert all(expected.values())
    assert numbers(scenario, tmp_path / "ray", arms=QUICK, engine="ray", workers=3) == expected


@pytest.mark.flower
@pytest.mark.long
def test_every_strategy_on_every_engine(cluster: None, scenario: Path, tmp_path: Path) -> None:
    expected = numbers(scenario, tmp_path / "inprocess")
    assert all(expected.values())
    for workers in (1, 2, 3):
        assert numbers(scenario, tmp_path / f"ray-{workers}", engine="ray", workers=workers) == expected
    assert numbers(scenario, tmp_path / "flower", engine="flower") == expected
