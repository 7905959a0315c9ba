"""Every scenario gives the same numbers on every engine, whatever the number of workers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

import semfed
from semfed.checkpoint import files
from semfed.scenario import built_in

EXPECTED = Path(__file__).parents[1] / "scenarios" / "expected"
SHORT: dict[str, Any] = {
    path.stem: json.loads(path.read_text()) for path in sorted(EXPECTED.glob("*.json"), key=lambda path: path.stem)
}
"""What makes a scenario as short as it can be, and arms where all would take minutes; the networks stay as they are."""
EMBEDDED = ("digits", "alignment-digits", "fedcl-digits")


def test_every_scenario_is_compared() -> None:
    assert list(SHORT) == sorted(built_in())


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One cluster for all tests here, with room for three workers: starting one takes seconds."""
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def numbers(out: Path, scenario: str, **options: Any) -> tuple[str, ...]:
    """Run the arms with one seed; return metrics, outcomes with digests of the final parameters, and kept networks."""
    short = SHORT[scenario]
    run = semfed.run(scenario, arms=short["arms"], seeds=[0], overrides=short["overrides"], out=out, **options)
    networks = sorted(path for path in run.folder.glob("models/**/*") if path.is_file())
    assert any(path.suffix == ".safetensors" for path in networks)
    return (
        *((run.folder / name).read_text() for name in ("metrics.jsonl", "outcomes.jsonl")),
        *(f"{path.relative_to(run.folder)} {files.digest(path.read_bytes())}" for path in networks),
    )


@pytest.mark.flower
@pytest.mark.long
def test_digits(cluster: None, tmp_path: Path) -> None:
    expected = numbers(tmp_path / "inprocess", "digits")
    for workers in (1, 2, 3):
        assert numbers(tmp_path / f"ray-{workers}", "digits", engine="ray", workers=workers) == expected
    assert numbers(tmp_path / "flower", "digits", engine="flower") == expected


@pytest.mark.flower
@pytest.mark.slow
@pytest.mark.parametrize("scenario", [name for name in SHORT if name != "digits"])
def test_every_other_scenario(cluster: None, scenario: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    options = {} if scenario in EMBEDDED else {"data_root": request.getfixturevalue("data_root")}
    expected = numbers(tmp_path / "inprocess", scenario, **options)
    for workers in (1, 2, 3):
        assert numbers(tmp_path / f"ray-{workers}", scenario, engine="ray", workers=workers, **options) == expected
    assert numbers(tmp_path / "flower", scenario, engine="flower", **options) == expected
