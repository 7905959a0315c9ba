"""The rule by which cohorts choose their own size, on costs that are given."""

from collections.abc import Callable

import pytest
import torch

from semfed.flower.client.cohort_size import CohortSize, Cost, measured


def train(sizes: CohortSize, clients: int, seconds: Callable[[int], float], **memory: int) -> list[int]:
    """Let all clients of a round train; return the sizes of their cohorts."""
    taken, left = [], clients
    while left:
        size = sizes.of(left, clients)
        sizes.note(size, clients, Cost(seconds(size), **memory))
        taken.append(size)
        left -= size
    return taken


def test_sizes_double_until_a_client_gains_less_than_a_tenth() -> None:
    """A cohort of n takes 10 + n: from 64 to 128, a client's time falls by 7 %; so that is the end."""
    sizes = CohortSize()
    taken = train(sizes, 1000, lambda size: 10.0 + size, grown=1, free=10**9)
    assert taken[:16] == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128]
    assert sizes.chosen == 128
    assert sum(taken) == 1000
    assert train(sizes, 1000, lambda size: 0.0) == [125] * 8
    assert sizes.of(100, 100) == 100


def test_a_client_alone_may_be_the_best() -> None:
    """As on a CPU: a client of a cohort takes 2.5 times as long as one alone, of whatever cohort."""
    sizes = CohortSize()
    assert train(sizes, 17, lambda size: 1.0 if size == 1 else 2.5 * size) == [1, 1, 2, 2, 4, 4, 1, 1, 1]
    assert sizes.chosen == 1


def test_a_cohort_costs_so_much_that_only_large_ones_pay() -> None:
    sizes = CohortSize()
    for _ in range(6):
        train(sizes, 1000, lambda size: 1.0 if size == 1 else 20.0 + 0.01 * size, grown=1, free=10**9)
    assert sizes.chosen == 1000


def test_a_cohort_that_would_not_fit_is_not_tried() -> None:
    """What it took, doubled, is more than half of what is free."""
    sizes = CohortSize()
    taken = train(sizes, 100, lambda size: 1.0, grown=300, free=1000)
    assert max(taken) == 1
    sizes = CohortSize()
    assert max(train(sizes, 100, lambda size: 1.0, grown=249, free=1000)) > 1


def test_what_was_too_large_is_not_tried_again() -> None:
    sizes = CohortSize()
    for size in (1, 1, 2, 2, 4, 4):
        sizes.note(size, 50, Cost(1.0, 1, 10**9))
    assert sizes.of(50, 50) == 8
    sizes.too_large(8)
    assert sizes.of(48, 48) == 4
    sizes.too_large(4)
    assert sizes.of(48, 48) == 2


def test_all_clients_together_are_the_largest_cohort() -> None:
    sizes = CohortSize()
    for _ in range(8):
        train(sizes, 3, lambda size: 1.0, grown=1, free=10**9)
    assert sizes.chosen == 3


def test_time_and_memory_are_measured() -> None:
    with measured(torch.device("cpu")) as cost:
        filled = torch.ones(30_000_000)
        assert len(filled)
    assert cost.seconds > 0
    assert cost.free > 0
    assert cost.grown == pytest.approx(120e6, rel=0.3) or cost.grown < 120e6  # below an earlier peak nothing grows
