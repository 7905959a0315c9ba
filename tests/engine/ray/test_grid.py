"""Ray actors: the same numbers from any number of them, and after one has died; and from trials in actors."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray

import semfed
from semfed.errors import EngineError
from tests.ray_cluster import ray_cluster

pytestmark = pytest.mark.flower
SHORT: dict[str, Any] = {"seeds": [0], "arms": ["clustered", "individual"]}
OVERRIDES = ["rounds=2", "training.epochs=1"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One cluster for all tests here: starting one takes seconds. It knows the plugins of the tests."""
    with ray_cluster(3):
        yield


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


@pytest.mark.parametrize(
    "workers", [pytest.param(1, marks=pytest.mark.long), 2, pytest.param(3, marks=pytest.mark.long)]
)
def test_any_number_of_workers_gives_the_same_numbers(
    cluster: None, expected: str, workers: int, tmp_path: Path
) -> None:
    assert metrics(tmp_path / "run", workers=workers) == expected


@pytest.mark.parametrize(
    ("scenario", "arms", "overrides"),
    [
        pytest.param("alignment-digits", ["shared", "top-k"], ["rounds=2"], marks=pytest.mark.long),
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


def test_trials_in_actors_leave_the_same_history(cluster: None, expected: str, tmp_path: Path) -> None:
    assert metrics(tmp_path / "run", jobs=2) == expected
    with pytest.raises(EngineError, match="4 actors with one CPU each are asked for, .* room for 3: lower --jobs"):
        metrics(tmp_path / "more", jobs=4, sweep="channel.snr_db=0,10")
    assert ray.is_initialized()


def test_a_dead_actor_is_replaced_and_nothing_is_lost(cluster: None, expected: str, tmp_path: Path) -> None:
    """It is killed in the second round, when its clients have states that must come back."""
    once = tmp_path / "died"
    deadly = f'learner={{name = "faulty:FailingClient", client = 1, round = 2, how = "die", once = "{once}"}}'
    told = metrics(tmp_path / "run", workers=2, overrides=[deadly])
    assert after_opening(told) == after_opening(expected)
    assert once.exists()


@pytest.mark.long
def test_an_actor_that_always_dies_ends_the_run(cluster: None, tmp_path: Path) -> None:
    deadly = 'learner={name = "faulty:FailingClient", client = 1, round = 1, how = "die"}'
    with pytest.raises(EngineError, match="a Ray actor died 4 times in one exchange"):
        metrics(tmp_path / "run", workers=2, overrides=[deadly])


@pytest.mark.long
def test_an_actor_that_exhausts_its_memory_costs_its_reply_only(cluster: None, tmp_path: Path) -> None:
    """A refused allocation is told like any failure; an actor that the system kills instead is the test above."""
    greedy = 'learner={name = "faulty:FailingClient", client = 1, round = 2, how = "exhaust"}'
    told = metrics(tmp_path / "run", workers=2, overrides=[greedy])
    assert '"round": 2, "client": "Sat 2", "metric": "failure/train"' in told
    assert "Unable to allocate" in told
    assert '"round": 2, "client": "Sat 1", "metric": "accuracy/t1"' in told


@pytest.mark.long
def test_a_missed_deadline_costs_the_late_reply_only(cluster: None, tmp_path: Path) -> None:
    late = f'learner={{name = "faulty:FailingClient", client = 2, round = 2, how = "sleep", once = "{tmp_path / "x"}"}}'
    told = metrics(tmp_path / "run", workers=3, overrides=[late, "timeout_s=6"])
    assert '"round": 2, "client": "Sat 3", "metric": "failure/train"' in told
    assert "no reply within 6 s" in told
    assert '"round": 2, "client": "Sat 1", "metric": "accuracy/t1"' in told


def visited(out: Path, overrides: Sequence[str] = (), **options: Any) -> list[str]:
    done = semfed.run(Path(__file__).parents[1] / "visited.toml", overrides=overrides, out=out, **options)
    return [*after_opening((done.folder / "metrics.jsonl").read_text()), (done.folder / "outcomes.jsonl").read_text()]


@pytest.mark.long
def test_sums_of_samples_of_many_clients_do_not_depend_on_who_made_them(cluster: None, tmp_path: Path) -> None:
    expected = visited(tmp_path / "inprocess")
    for workers in (1, 2, 3):
        assert visited(tmp_path / f"ray-{workers}", engine="ray", workers=workers) == expected


@pytest.mark.long
def test_every_client_of_a_dead_actor_goes_on_from_its_own_last_state(cluster: None, tmp_path: Path) -> None:
    """Clients that were sampled together once have been sampled in different rounds since."""
    once = tmp_path / "died"
    deadly = f'learner={{name="visited:VisitedClient", visit=3, once="{once}"}}'
    told = visited(tmp_path / "ray", [deadly], engine="ray", workers=2)
    assert once.exists()
    assert told[:-1] == visited(tmp_path / "inprocess")[:-1]


@pytest.mark.long
def test_an_actor_that_is_ahead_takes_clients_over_with_their_states(cluster: None, tmp_path: Path) -> None:
    servants = tmp_path / "servants"
    servants.mkdir()
    slow = f'learner={{name="visited:VisitedClient", slow=0.05, servants="{servants}"}}'
    everybody = "strategy.fraction_train=1.0"
    told = visited(tmp_path / "ray", [slow, everybody], engine="ray", workers=2)
    assert told == visited(tmp_path / "inprocess", [everybody])
    assert any(len(set(path.read_text().split())) > 1 for path in servants.iterdir())
