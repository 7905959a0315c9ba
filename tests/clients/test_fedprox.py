"""Flower's FedProx with every learner: its term is there, or it is refused before anybody trains."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from flwr.app import RecordDict
from flwr.serverapp.strategy import FedAvg

import semfed
from semfed.errors import FederationError, ScenarioError, SemfedError
from semfed.scenario import overrides

from .learners import client, one_round, scenario

FULL_BATCH: dict[str, Any] = {"training": {"batch_size": 1000, "lr": 0.1}}
PROX = "flwr.serverapp.strategy:FedProx"


def after(learner: str, epochs: int, mu: float, **training: Any) -> tuple[list[np.ndarray], list[np.ndarray], Any]:
    """Return a client's shared arrays before and after a round of full-batch steps, and its private state."""
    changes = [FULL_BATCH, {"training": {"epochs": epochs, **training}}]
    if learner == "cooperative":
        changes.append({"learner": {"common": {"epochs": epochs, "lr": 0.01}}})
    given, state = scenario(learner, *changes), RecordDict()
    start = client(given, state=state).get_parameters({})
    made = client(given, state=state)
    return start, one_round(made, 1, start, **{"proximal-mu": mu} if mu else {})[0], state


@pytest.mark.parametrize("learner", ["multitask", "joint", "multi-receiver"])
def test_the_second_step_is_pulled_back_by_mu_times_the_way_gone(learner: str) -> None:
    """Plain SGD on the full batch: w2(mu) = w2(0) - lr mu (w1 - w0), on what is shared and on nothing else."""
    start, first, _ = after(learner, 1, 0.0)
    _, second, private = after(learner, 2, 0.0)
    _, pulled, other = after(learner, 2, 0.5)
    for w0, w1, w2, ours in zip(start, first, second, pulled, strict=True):
        assert np.abs(w1 - w0).max() > 1e-5
        assert np.allclose(ours, w2 - 0.1 * 0.5 * (w1 - w0), atol=2e-6)
        assert not np.allclose(ours, w2, atol=2e-6)
    for name, record in private.items():
        assert all(np.array_equal(a.numpy(), other[name][key].numpy()) for key, a in record.items())


def test_the_common_unit_is_pulled_by_mu_times_the_way_gone() -> None:
    """Adam's first moment after two steps is 0.9 (0.1 g1) + 0.1 g2: mu adds 0.1 mu (w1 - w0) of the unit's weights."""
    kept = {"optimizer_state": "kept"}
    start, first, _ = after("cooperative", 1, 0.0, **kept)
    moments = [after("cooperative", 2, mu, **kept)[2]["common-optimizer"]["moments"].numpy() for mu in (0.0, 0.5)]
    way = np.concatenate([(w1 - w0).ravel() for w0, w1 in zip(start, first, strict=True)])
    assert np.allclose(moments[1][: len(way)] - moments[0][: len(way)], 0.1 * 0.5 * way, atol=1e-7)
    assert np.abs(way).max() > 1e-3


def distances(tmp_path: Path, name: str, *changes: str) -> Any:
    given = {"arms": ["unclustered"], "seeds": [0]} | {"out": tmp_path / name.rpartition(":")[2] / str(len(changes))}
    strategy = f'arms.unclustered.strategy={{name="{name}"}}'
    done = semfed.run("digits", overrides=["rounds=2", strategy, *changes], **given)
    return (done.folder / "metrics.jsonl").read_text().replace("FedProx", "FedAvg")


def test_without_a_term_fedprox_is_fedavg_bit_for_bit_and_with_one_it_is_not(tmp_path: Path) -> None:
    found = [
        [line for line in distances(tmp_path, name, *mu).splitlines() if '"cost/' not in line]
        for name, mu in (
            ("flwr.serverapp.strategy:FedAvg", []),
            (PROX, []),
            (PROX, ["arms.unclustered.strategy.proximal_mu=1"]),
        )
    ]
    assert found[0] == found[1]
    assert found[1] != found[2]


def test_a_large_mu_keeps_what_was_received() -> None:
    """lr mu = 1: whatever the number of steps, the encoder is one gradient step away from what it was sent."""
    start, free, _ = after("multitask", 30, 0.0)
    _, held, _ = after("multitask", 30, 10.0)
    away = [sum(float(np.square(w - w0).sum()) for w, w0 in zip(ws, start, strict=True)) for ws in (free, held)]
    assert away[1] < away[0] / 20


class Extra(FedAvg):
    """Tells clients something that none of them knows."""

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
        config["temperature"] = 2.0
        return super().configure_train(server_round, arrays, config, grid)


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        (
            "digits",
            ["checkpoint_every=0", f'strategy={{name="{__name__}:Extra"}}'],
            "sends 'temperature', which MultitaskClient.fit would",
        ),
        ("digits", [f'strategy={{name="{PROX}", proximal_mu=-1.0}}'], "'proximal-mu' = -1.0 of the strategy: give a n"),
    ],
)
def test_what_a_client_would_ignore_is_refused_before_anybody_trains(
    tmp_path: Path, preset: str, changes: list[str], message: str
) -> None:
    tree = overrides.load(preset, ["rounds=2"]).tree()
    tree.pop("arms")
    (tmp_path / "scenario.toml").write_text(tomli_w.dumps(tree))
    with pytest.raises(FederationError, match=message):
        semfed.run(tmp_path, seeds=[0], overrides=changes, out=tmp_path / "run")
    assert '"round": 1' not in (tmp_path / "run" / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("learner", "mu", "parameters", "message"),
    [
        ("joint", 1.0, False, "'proximal-mu' = 1, but no parameters came to stay close to"),
        ("multitask", -1.0, True, "'proximal-mu' = -1.0 of the strategy: give a number of 0 or more"),
        ("multi-receiver", float("inf"), True, "'proximal-mu' = inf"),
        ("joint", "much", True, "'proximal-mu' = 'much'"),
    ],
)
def test_a_term_that_cannot_be_is_refused(learner: str, mu: Any, parameters: bool, message: str) -> None:
    made = client(scenario(learner))
    start = made.get_parameters({}) if parameters else []
    with pytest.raises(SemfedError, match=message):
        one_round(made, 1, start, **{"proximal-mu": mu})


def test_without_a_common_unit_nothing_can_be_held_back() -> None:
    made = client(scenario("cooperative", {"learner": {"cu": False}}))
    with pytest.raises(SemfedError, match=r"learner\.cu = false shares no network"):
        one_round(made, 1, made.get_parameters({}), **{"proximal-mu": 1.0})
    stock = {"strategy": {"name": PROX, "proximal_mu": 1.0}}
    with pytest.raises(ScenarioError, match=r"strategy\.proximal_mu = 1\.0 holds nothing back: learner\.cu = false"):
        scenario("cooperative", {"learner": {"cu": False}}, stock)
