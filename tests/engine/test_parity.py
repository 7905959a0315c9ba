"""Every scenario gives the same numbers on every engine, whatever the number of workers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

import semfed
from semfed.scenario import built_in

SMALL_FEDCL = ["rounds=1", "data.partition.q=10", "training.batch_size=10", "learner.test_per_class=20"]
SMALL_FEDCL += ["learner.show_features=2", "learner.test_snr_db=[0]"]
SMALL_ALIGNMENT = ["rounds=2", "data.partition.per_client=400", "training.epochs=1", "learner.pilots=200"]
SMALL_ALIGNMENT += ["learner.classifier.epochs=1"]
SMALL_UNITS = ["learner.common.rounds=1", "rounds=2", "learner.common.epochs=1", "training.epochs=1"]
FEW_IMAGES = 'data.partition={ name = "iid", per_client = 400 }'
PRESETS: dict[str, list[str]] = {
    "alignment-cifar10": [*SMALL_ALIGNMENT, "learner.latents.access_point_images=400"],
    "alignment-digits": ["rounds=2", "training.epochs=2", "learner.classifier.epochs=1"],
    "alignment-mnist": [*SMALL_ALIGNMENT, "learner.latents.access_point_images=400"],
    "clustered-mnist": ["rounds=2"],
    "digits": ["rounds=2", "training.epochs=1"],
    "fedcl-cifar10": SMALL_FEDCL,
    "fedcl-cifar10-heterogeneous": SMALL_FEDCL,
    "fedcl-cifar10-k20": SMALL_FEDCL,
    "fedcl-digits": ["rounds=2"],
    "iopm-cifar10": [*SMALL_UNITS, FEW_IMAGES],
    "iopm-federated": [*SMALL_UNITS, FEW_IMAGES],
    "iopm-mnist": [*SMALL_UNITS, FEW_IMAGES],
    "mtoc-cifar10": ["training.epochs=1", FEW_IMAGES],
    "mtoc-fashion-mnist": ["training.epochs=1", FEW_IMAGES],
    "mtoc-federated": ["rounds=2", FEW_IMAGES],
    "mtoc-mnist": ["training.epochs=1", FEW_IMAGES],
}
"""Settings that make a scenario as short as it can be; the networks stay as they are."""
EMBEDDED = ("digits", "alignment-digits", "fedcl-digits")
TWO_ARMS = {"iopm-cifar10": ["iopm", "no-cu"], "fedcl-cifar10-k20": ["fedcl", "fedproto"]}
"""Where all arms would take minutes."""


def test_every_scenario_is_compared() -> None:
    assert list(PRESETS) == sorted(built_in())


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One cluster for all tests here, with room for three workers: starting one takes seconds."""
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def numbers(out: Path, scenario: str, **options: Any) -> tuple[str, ...]:
    """Run the arms with one seed; return the metrics, and outcomes with the digests of the final parameters."""
    arms = TWO_ARMS.get(scenario)
    run = semfed.run(scenario, arms=arms, seeds=[0], overrides=PRESETS[scenario], out=out, **options)
    return tuple((run.folder / name).read_text() for name in ("metrics.jsonl", "outcomes.jsonl"))


@pytest.mark.flower
@pytest.mark.long
def test_digits(cluster: None, tmp_path: Path) -> None:
    expected = numbers(tmp_path / "inprocess", "digits")
    for workers in (1, 2, 3):
        assert numbers(tmp_path / f"ray-{workers}", "digits", engine="ray", workers=workers) == expected
    assert numbers(tmp_path / "flower", "digits", engine="flower") == expected


@pytest.mark.flower
@pytest.mark.slow
@pytest.mark.parametrize("scenario", [name for name in PRESETS if name != "digits"])
def test_every_other_scenario(cluster: None, scenario: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    options = {} if scenario in EMBEDDED else {"data_root": request.getfixturevalue("data_root")}
    expected = numbers(tmp_path / "inprocess", scenario, **options)
    for workers in (1, 2, 3):
        assert numbers(tmp_path / f"ray-{workers}", scenario, engine="ray", workers=workers, **options) == expected
    assert numbers(tmp_path / "flower", scenario, engine="flower", **options) == expected
