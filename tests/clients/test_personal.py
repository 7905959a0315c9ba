"""Personal clients' minibatches: how many there are, and which."""

from typing import Any

import pytest

from tests.clients.learners import client, scenario


@pytest.mark.parametrize(
    ("minibatches", "sizes"),
    [(None, [15, 15, 10] * 2), (2, [15, 15]), (5, [15, 15, 10, 15, 15]), (9, [15, 15, 10] * 2)],
)
def test_a_round_has_the_minibatches_of_its_epochs_or_the_first_of_them(
    minibatches: int | None, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = {} if minibatches is None else {"minibatches": minibatches}
    given: Any = client(scenario("joint", {"learner": learner, "training": {"batch_size": 15, "epochs": 2}}))
    indices, found = given.minibatches(1)
    assert found == sizes
    assert len(indices) == sum(sizes)
    if len(indices) >= 40:
        assert indices[:40].sort().values.tolist() == list(range(40))  # an epoch takes every image once
    monkeypatch.setattr(type(given.session), "generator", None)  # sizes are known without a draw
    assert given.sizes(1) == sizes
