"""Ray actors: the same numbers from any number of them, and after one has died."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

import semfed
from semfed.engine.ray import place
from semfed.errors import EngineError

pytestmark = pytest.mark.flower
SHORT: dict[str, Any] = {"seeds": [0], "arms": ["clustered", "individual"]}
OVERRIDES = ["rounds=2", "training.epochs=1"]
PLUGINS = Path(__file__).parents[1] / "plugins"


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One cluster for all tests here: starting one takes seconds. It knows the plugins of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PLUGINS))
        patch.syspath_prepend(PLUGINS)
        ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    done = semfed.run("digits", **SHORT, overrides=OVERRIDES, out=tmp_path_factory.mktemp("run") / "inprocess")
    return (done.folder / "metrics.jsonl").read_text()


def metrics(out: Path, **arguments: Any) -> str:
    overrides = [*OVERRIDES, *arguments.pop("overrides", [])]
    done = semfed.run("digits", **SHORT, engine="ray", overrides=overrides, out=out, **arguments)
    return (done.folder / "metrics.jsonl").read_text()


def after_opening(told: str) -> list[str]:
    """All but the cost of opening, which depends on the length of the scenario's text."""
    return [line for line in told.splitlines() if '"round": 0' not in line]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_numbers(
    cluster: None, expected: str, workers: int, tmp_path: Path
) -> None:
    assert metrics(tmp_path / "run", workers=workers) == expected


@pytest.mark.parametrize(
    ("scenario", "arms", "overrides"),
    [
        ("alignment-digits", ["shared", "top-k"], ["rounds=2"]),
        (
            "fedcl-digits",
            ["fedcl", "fedavg", "local"],
            ["rounds=2", "clients.count=3", "data.q=12", "training.batch_size=12"],
        ),
    ],
)
def test_other_systems_give_the_same_numbers(
    cluster: None, scenario: str, arms: list[str], overrides: list[str], tmp_path: Path
) -> None:
    told = []
    for engine in ("inprocess", "ray"):
        done = semfed.run(scenario, engine=engine, arms=arms, seeds=[0], overrides=overrides, out=tmp_path / engine)
        told.append([(done.folder / file).read_text() for file in ("metrics.jsonl", "outcomes.jsonl")])
    assert told[0] == told[1]


def test_a_dead_actor_is_replaced_and_nothing_is_lost(cluster: None, expected: str, tmp_path: Path) -> None:
    """It is killed in the second round, when its clients have states that must come back."""
    once = tmp_path / "died"
    deadly = f'learner={{name = "faulty:FailingClient", client = 1, round = 2, how = "die", once = "{once}"}}'
    told = metrics(tmp_path / "run", workers=2, overrides=[deadly])
    assert after_opening(told) == after_opening(expected)
    assert once.exists()


def test_an_actor_that_always_dies_ends_the_run(cluster: None, tmp_path: Path) -> None:
    deadly = 'learner={name = "faulty:FailingClient", client = 1, round = 1, how = "die"}'
    with pytest.raises(EngineError, match="a Ray actor died 4 times in one exchange"):
        metrics(tmp_path / "run", workers=2, overrides=[deadly])


def test_an_actor_that_exhausts_its_memory_costs_its_reply_only(cluster: None, tmp_path: Path) -> None:
    """A refused allocation is told like any failure; an actor that the system kills instead is the test above."""
    greedy = 'learner={name = "faulty:FailingClient", client = 1, round = 2, how = "exhaust"}'
    told = metrics(tmp_path / "run", workers=2, overrides=[greedy])
    assert '"round": 2, "client": "Sat 2", "metric": "failure/train"' in told
    assert "Unable to allocate" in told
    assert '"round": 2, "client": "Sat 1", "metric": "accuracy/t1"' in told


def test_a_missed_deadline_costs_the_late_reply_only(cluster: None, tmp_path: Path) -> None:
    late = f'learner={{name = "faulty:FailingClient", client = 2, round = 2, how = "sleep", once = "{tmp_path / "x"}"}}'
    told = metrics(tmp_path / "run", workers=3, overrides=[late, "timeout_s=6"])
    assert '"round": 2, "client": "Sat 3", "metric": "failure/train"' in told
    assert "no reply within 6 s" in told
    assert '"round": 2, "client": "Sat 1", "metric": "accuracy/t1"' in told


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=30), st.integers(1, 5))
def test_placement_is_complete_and_balanced(sizes: list[float], hosts: int) -> None:
    placed = place(sizes, hosts)
    assert sorted(index for members in placed for index in members) == list(range(len(sizes)))
    loads = [sum(sizes[index] for index in members) for members in placed]
    assert max(loads) <= sum(sizes) / hosts + max(sizes)
