from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, RecordDict
from semfed.clients.multitask import MultitaskClient

from semfed.errors import DataError
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.session import Session
from semfed.flower.trial import Trial
from semfed.scenario import Scenario

Make = Callable[..., MultitaskClient]


@pytest.fixture
def make(digits: Scenario) -> Make:
    cache = ProcessCache()

    def made(
        client: int = 0,
        *,
        seed: int = 0,
        state: RecordDict | None = None,
        arm: str = "clustered",
        scenario: Scenario = digits,
    ) -> MultitaskClient:
        context = Context(0, 0, {"partition-id": client}, state if state is not None else RecordDict(), {})
        return MultitaskClient(Session(context, Trial(scenario.arm(arm), arm, seed), client, cache, None))

    return made


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def test_every_client_of_a_seed_starts_from_the_same_encoder(make: Make) -> None:
    first = make(0).get_parameters({})
    assert same(first, make(2, arm="individual").get_parameters({}))
    assert not same(first, make(0, seed=1).get_parameters({}))


def test_training_depends_on_seed_client_and_round_only(make: Make) -> None:
    start = make().get_parameters({})
    first, samples, _ = make().fit(start, {"server-round": 1})
    first = [array.copy() for array in first]  # they share the memory of the resident networks
    make(2).fit(start, {"server-round": 5})  # the resident networks are used by others in between
    assert same(first, make(arm="individual").fit(start, {"server-round": 1})[0])
    assert not same(first, make().fit(start, {"server-round": 2})[0])
    assert samples == 145


def test_the_decoder_stays_and_learns(make: Make) -> None:
    state = RecordDict()
    encoder = make().get_parameters({})
    losses = []
    for round_ in range(1, 31):
        out, _, metrics = make(state=state).fit(encoder, {"server-round": round_})
        encoder = [array.copy() for array in out]
        losses.append(metrics["train_loss"])
    assert {name: list(record) for name, record in state.items()} == {"training": ["private"]}
    assert losses[-1] < 0.7 * losses[0]
    loss, samples, metrics = make(state=state).evaluate(encoder, {"server-round": 30})
    assert samples == 539
    assert metrics["accuracy"] > make().get_properties({})["baseline/accuracy"]
    assert loss < make().evaluate(encoder, {"server-round": 30})[0], "a fresh decoder must be worse"


def test_evaluation_is_seeded_and_noisy(make: Make) -> None:
    encoder = make().get_parameters({})
    assert make().evaluate(encoder, {"server-round": 1}) == make().evaluate(encoder, {"server-round": 1})
    assert make().evaluate(encoder, {"server-round": 1})[0] != make().evaluate(encoder, {"server-round": 2})[0]


def test_properties_are_the_label_statistics(make: Make) -> None:
    told = make(1).get_properties({})
    assert told["num-examples"] == 180
    assert [told[f"pmf/{value}"] for value in ("other", "1", "2")] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    labels = make(1).session.dataset.test.labels
    majority = max((~torch.isin(labels, torch.tensor([1, 2]))).float().mean().item(), 0)
    assert told["baseline/accuracy"] == pytest.approx(majority)


def test_a_missing_value_is_named(make: Make, digits: Scenario) -> None:
    tree: dict[str, Any] = digits.tree()
    tree["data"]["partition"]["counts"][1][1] = 0
    with pytest.raises(DataError, match="client 'Sat 2' has no sample of value '1' of its task 't2'"):
        make(1, scenario=Scenario.model_validate(tree)).get_properties({})


def test_a_task_may_allow_missing_values(make: Make, digits: Scenario) -> None:
    tree: dict[str, Any] = digits.tree()
    tree["data"]["partition"]["counts"][1][1] = 0
    tree["tasks"]["t2"]["missing"] = "allow"
    told = make(1, scenario=Scenario.model_validate(tree)).get_properties({})
    assert [told[f"pmf/{value}"] for value in ("other", "1", "2")] == pytest.approx([0.5, 0, 0.5])


def test_channel_uses_are_the_symbols_sent(make: Make) -> None:
    encoder = make().get_parameters({})
    assert make().fit(encoder, {"server-round": 1})[2]["channel-uses"] == 145 * 8
    assert make().evaluate(encoder, {"server-round": 1})[2]["channel-uses"] == 539 * 8


def test_samples_without_a_value_are_left_out(make: Make, digits: Scenario) -> None:
    tree: dict[str, Any] = digits.tree()
    tree["tasks"]["t1"] = {"values": {"two": [2], "seven": [7]}}
    client = make(0, scenario=Scenario.model_validate(tree))
    assert client.fit(client.get_parameters({}), {"server-round": 1})[1] == 25 + 40
    assert client.evaluate(client.get_parameters({}), {"server-round": 1})[1] == 53 + 54
