"""Every learner whose objective can be stacked: its clients in a cohort against the same clients alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict
from semfed.clients.aligned_user import AlignedUser
from semfed.clients.common_unit import CommonUnit
from semfed.clients.cooperative import CooperativeClient
from semfed.clients.joint import JointClient
from semfed.clients.multi_receiver import MultiReceiverClient
from semfed.clients.multitask import MultitaskClient
from semfed.clients.split import SplitClient

from semfed.errors import ScenarioError
from semfed.flower.client import together
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.together import fit_together, require_stackable, why_alone, why_arm_alone
from semfed.scenario import overrides

from .learners import client, scenario

STACKED = ("multitask", "joint", "multi-receiver")
KEPT = {"optimizer": "adam", "lr": 0.01, "optimizer_state": "kept"}
CLIENTS = 3


def given(learner: str, training: dict[str, Any], *changes: dict[str, Any]) -> Any:
    return scenario(learner, {"clients": {"count": CLIENTS}, "training": training}, *changes)


def alone(case: Any, start: Sequence[Any], rounds: int) -> list[Any]:
    """Let every client train for some rounds by itself, an average of one; return its weights, loss and state."""
    found = []
    for k in range(CLIENTS):
        state, shared = RecordDict(), list(start)
        for round_ in range(1, rounds + 1):
            out, _, told = client(case, k, state=state).fit(shared, {"server-round": round_})
            shared = [np.array(array) for array in out]
        found.append((shared, told, state))
    return found


def beside(case: Any, start: Sequence[Any], rounds: int) -> list[Any]:
    """Let all clients train side by side."""
    cache, states = ProcessCache(), [RecordDict() for _ in range(CLIENTS)]
    shared = [list(start) for _ in states]
    for round_ in range(1, rounds + 1):
        learners = [client(case, k, state=state, cache=cache) for k, state in enumerate(states)]
        configs = [{"server-round": round_}] * CLIENTS
        answers = fit_together(learners, shared, configs, alone=nobody, size=CLIENTS, cache=cache)
        shared = [list(answer[0]) for answer in answers if answer is not None]
    return [(own, answer[1:], state) for own, answer, state in zip(shared, answers, states, strict=True) if answer]


def nobody(k: int) -> Any:
    raise AssertionError(f"client {k} trained alone")


def close(one: Any, other: Any) -> None:
    (arrays, told, state), (others, (_, told_beside), state_beside) = one, other
    for mine, theirs in zip(arrays, others, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5)
    assert told == pytest.approx(told_beside, abs=1e-5)
    records, records_beside = state.array_records, state_beside.array_records
    assert list(records) == list(records_beside)
    for name, record in records.items():
        assert list(record) == list(records_beside[name])
        for key, array in record.items():
            np.testing.assert_allclose(array.numpy(), records_beside[name][key].numpy(), atol=2e-5, err_msg=key)


@pytest.mark.parametrize("training", [{"lr": 0.1}, KEPT], ids=["sgd", "kept adam"])
@pytest.mark.parametrize("learner", STACKED)
def test_clients_side_by_side_learn_keep_and_tell_what_they_do_alone(learner: str, training: dict[str, Any]) -> None:
    case = given(learner, training)
    start = client(case).get_parameters({})
    for one, other in zip(alone(case, start, 2), beside(case, start, 2), strict=True):
        close(one, other)


@pytest.mark.parametrize("learner", STACKED)
def test_masks_and_noise_are_each_clients_own(learner: str) -> None:
    dropping = {
        "encoder": {"name": "mlp", "hidden": [16], "dropout": 0.5},
        "decoder": {"name": "mlp", "hidden": [8], "dropout": 0.2},
    }
    case = given(learner, {"lr": 0.1}, {"model": dropping})
    start = client(case).get_parameters({})
    for one, other in zip(alone(case, start, 1), beside(case, start, 1), strict=True):
        close(one, other)


def test_clients_that_go_on_from_their_own_weights_are_stacked() -> None:
    case = given("joint", KEPT, {"strategy": {"name": "fedavg", "exchange": False}})
    for one, other in zip(alone(case, [], 2), beside(case, [], 2), strict=True):
        close(one, other)


def test_only_like_clients_make_a_cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of a task of three values have decoders of their own size; the fifth has an odd number of images."""
    counts = [[4] * 10, [4] * 10, [4] * 10, [4] * 10, [5] * 10]
    tasks = ("t1", "t2", "t1", "t2", "t1")
    case = scenario(
        "multitask",
        {
            "data": {"partition": {"name": "counts", "counts": counts}},
            "clients": [{"name": f"client {k}", "task": task} for k, task in enumerate(tasks)],
        },
    )
    cohorts, fitted = [], together._fit_cohort

    def note(visits: Any) -> Any:
        cohorts.append([visit.learner.session.client for visit in visits])
        return fitted(visits)

    monkeypatch.setattr(together, "_fit_cohort", note)
    cache, alone_ = ProcessCache(), []
    learners = [client(case, k, cache=cache) for k in range(len(tasks))]
    start = learners[0].get_parameters({})

    def one(k: int) -> Any:
        alone_.append(k)
        return learners[k].fit(start, {"server-round": 1})

    answers = fit_together(learners, [start] * 5, [{"server-round": 1}] * 5, alone=one, size=9, cache=cache)
    assert cohorts == [[0, 2], [1, 3]]
    assert alone_ == [4]
    assert None not in answers


@pytest.mark.parametrize("training", [{"lr": 0.1}, KEPT], ids=["sgd", "kept adam"])
def test_common_units_are_trained_ahead_side_by_side(training: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What remains of ``fit`` is the specific units'; a mask is drawn from the stream that c is drawn from, too."""
    dropping = {"encoder": {"name": "mlp", "hidden": [16], "outputs": 16, "dropout": 0.5}}
    case = given("cooperative", training, {"model": dropping})
    start = client(case).get_parameters({})
    expected = alone(case, start, 2)
    monkeypatch.setattr(CommonUnit, "_fit", None)
    cache, states = ProcessCache(), [RecordDict() for _ in range(CLIENTS)]
    shared, configs = [list(start) for _ in states], [{"server-round": 1}] * CLIENTS
    for round_ in (1, 2):
        learners = [client(case, k, state=state, cache=cache) for k, state in enumerate(states)]
        configs = [{"server-round": round_}] * CLIENTS
        answers = fit_together(learners, shared, configs, alone=nobody, size=CLIENTS, cache=cache)
        assert answers == [None] * CLIENTS
        told = [learner.fit(own, config) for learner, own, config in zip(learners, shared, configs, strict=True)]
        shared = [[np.array(array) for array in arrays] for arrays, _, _ in told]
    for one, own, (_, *rest), state in zip(expected, shared, told, states, strict=True):
        close(one, (own, rest, state))


def test_which_learners_can_be_stacked() -> None:
    for kind in (JointClient, MultitaskClient, MultiReceiverClient):
        assert why_alone(kind) is None
    assert why_alone(CooperativeClient) is None  # its common units can
    for other in (SplitClient, AlignedUser):
        assert why_alone(other) == "it trains by a fit() of its own and not by an objective"

    class Another(MultitaskClient):
        def loss(self, *args: Any) -> Any:
            return super().loss(*args)

    assert why_alone(Another) == "its objective does not say that it can be stacked (stacks = True)"


def test_networks_that_are_told_the_snr_train_alone() -> None:
    told = overrides.load("digits", ["channel.snr_spread_db=5", "model.snr_input='both'"], arms=["clustered"])
    assert why_arm_alone(overrides.load("digits").arm("clustered")) is None
    assert "which every client draws for itself" in str(why_arm_alone(told.arm("clustered")))
    with pytest.raises(ScenarioError, match="cohort = 2 has no effect: learner 'multitask' is trained alone"):
        require_stackable(told, "cohort = 2")


def test_what_fails_side_by_side_is_left_to_everyone_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Random(MultitaskClient):
        stacks = True

        def loss(self, nets: Any, batch: Any, send: Any) -> Any:
            if float(batch.images.sum()) > 0:  # a decision by data, which vmap refuses
                return super().loss(nets, batch, send)
            return 2 * super().loss(nets, batch, send)

    case = given("multitask", {"lr": 0.1})
    cache = ProcessCache()
    learners = [Random(client(case, k, cache=cache).session) for k in range(CLIENTS)]
    start = learners[0].get_parameters({})
    for _ in range(2):
        configs = [{"server-round": 1}] * CLIENTS
        answers = fit_together(learners, [start] * CLIENTS, configs, alone=nobody, size=CLIENTS, cache=cache)
        assert answers == [None] * CLIENTS
    assert [record.getMessage()[:53] for record in caplog.records] == [
        "3 clients could not train side by side and train alone"[:53]
    ]
