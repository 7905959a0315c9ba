"""Tasks whose values have names of their own, with every learner."""

import pytest

from .learners import LEARNERS, client, one_round, scenario

NAMED = {"tasks": {"t1": {"values": {"low": [0, 1, 2, 3, 4], "high": [5, 6, 7, 8, 9]}}}}


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_trains_on_named_values(learner: str) -> None:
    made = scenario(learner, NAMED)
    assert client(made).get_properties({})["num-examples"] == 40
    _, metrics = one_round(client(made), 1, client(made).get_parameters({}))
    assert metrics["channel-uses"] > 0


def test_equal_tasks_have_equal_hashes_and_others_are_told_apart() -> None:
    one, same = (scenario("joint", NAMED).tasks["t1"] for _ in range(2))
    assert hash(one) == hash(same)
    assert one == same
    swapped = {"tasks": {"t1": {"values": {"low": [0, 1, 2, 3, 9], "high": [5, 6, 7, 8, 4]}}}}
    assert one != scenario("joint", swapped).tasks["t1"]
