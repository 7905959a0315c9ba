import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

import semfed
from semfed.algorithms.privacy import spent
from semfed.errors import SemfedError
from semfed.flower.server.federation import Federation
from semfed.scenario import Scenario, overrides

Open = Callable[..., Federation]
UPDATES = "privacy.updates={clipping_norm=0.5, epsilon=50.0, delta=1e-5}"
SEEDED = 'privacy.noise="seeded"'
LABELS = "privacy.labels={epsilon=0.1}"


def scenario(*more: str) -> Scenario:
    return overrides.load("digits", ["rounds=2", "training.epochs=1", *more], seeds=[0], arms=["clustered"])


def update(federation: Federation, round_: int = 1, *, start: float | None = None) -> np.ndarray:
    """Let the first client train from the initial encoder, or from constant weights; return the update, flat."""
    initial = {name: array.numpy() for name, array in federation.initial_arrays.items()}
    if start is not None:
        initial = {name: np.full_like(array, start) for name, array in initial.items()}
    sent = ArrayRecord({name: Array(array) for name, array in initial.items()})
    content = RecordDict({"arrays": sent, "config": ConfigRecord({"server-round": round_})})
    (reply,) = federation.send_and_receive([Message(content, 0, "train", group_id=str(round_))])
    assert not reply.has_error(), reply.error.reason
    return np.concatenate([(array.numpy() - initial[k]).ravel() for k, array in reply.content["arrays"].items()])


def test_noise_has_the_variance_of_the_calibration_and_clipping_its_norm(open_federation: Open) -> None:
    seeded = update(open_federation(scenario(UPDATES, SEEDED)))
    sigma = 2 * 0.5 * math.sqrt(2 * math.log(1.25e5)) / 50.0
    assert np.std(seeded) == pytest.approx(sigma, rel=0.1)

    faint = "privacy.updates={clipping_norm=0.01, epsilon=1e9, delta=1e-5}"
    assert np.linalg.norm(update(open_federation(scenario(faint, SEEDED)))) == pytest.approx(0.01, rel=1e-3)


def test_a_client_that_learnt_nothing_sends_noise_as_well(open_federation: Open) -> None:
    """Weights of zero have a gradient of zero behind a rectifier."""
    assert np.std(update(open_federation(scenario(UPDATES, SEEDED)), start=0.0)) > 0


def test_seeded_noise_is_of_seed_client_and_round_and_the_global_generator_is_left_alone(open_federation: Open) -> None:
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    federation = open_federation(scenario(UPDATES, SEEDED))
    first, again = update(federation), update(open_federation(scenario(UPDATES, SEEDED)))
    assert first.tolist() == again.tolist()
    assert update(federation, round_=2).tolist() != first.tolist()
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_secret_noise_differs_every_time(open_federation: Open) -> None:
    federations = [open_federation(scenario(UPDATES, LABELS)) for _ in range(2)]
    assert update(federations[0]).tolist() != update(federations[1]).tolist()
    assert federations[0].properties[0] != federations[1].properties[0]


def test_labels_are_noisy_and_nothing_else_that_is_told(open_federation: Open) -> None:
    plain = open_federation(scenario()).properties
    private = open_federation(scenario(LABELS, SEEDED)).properties
    for client, told in private.items():
        changed = {name for name in told if told[name] != plain[client][name]}
        assert changed == {name for name in told if name.startswith("pmf/")}
        assert sum(told[name] for name in changed) == pytest.approx(1.0)


def test_something_that_is_not_an_update_is_refused_instead_of_sent_unprotected(tmp_path: Path) -> None:
    with pytest.raises(SemfedError, match=r"privacy\.updates protects updates of a model, but 'train\.forward' sends"):
        semfed.run("fedcl-digits", arms=["fedcl"], seeds=[0], overrides=["rounds=1", UPDATES], out=tmp_path / "run")


@pytest.mark.flower
@pytest.mark.long
def test_engines_agree_and_the_epsilon_so_far_is_recorded(tmp_path: Path) -> None:
    options: Any = {"arms": ["clustered"], "seeds": [0],
                    "overrides": ["rounds=2", "training.epochs=1", UPDATES, LABELS, SEEDED]}  # fmt: skip
    texts = []
    for engine, more in (("inprocess", {}), ("ray", {"workers": 2})):
        done = semfed.run("digits", engine=engine, out=tmp_path / engine, **options, **more)
        texts.append((done.folder / "metrics.jsonl").read_text())
    assert texts[0] == texts[1]
    records = [json.loads(line) for line in texts[0].splitlines()]
    told = {r["round"]: r["value"] for r in records if r["metric"] == "privacy/epsilon"}
    settings = overrides.load("digits", [UPDATES]).privacy.updates
    assert settings is not None
    assert told == {0: 0.0, 1: spent(settings, 1), 2: spent(settings, 2)}
