from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.random import get_bit_generator, set_bit_generator

from semfed import seeding


@given(st.integers(0, 2**32), st.integers(0, 10_000), st.integers(0, 500))
def test_a_stream_is_what_its_names_say(seed: int, client: int, round_: int) -> None:
    draws = [seeding.numpy_generator(seed, "training", client, round_).integers(2**62) for _ in range(2)]
    assert draws[0] == draws[1]


def test_streams_differ_by_seed_purpose_client_and_round() -> None:
    names = [
        (0, "training", 0, 1),
        (1, "training", 0, 1),
        (0, "partition", 0, 1),
        (0, "training", 1, 1),
        (0, "training", 0, 2),
    ]
    draws = {torch.randn(4, generator=seeding.torch_generator(*name)).numpy().tobytes() for name in names}
    assert len(draws) == len(names)


def test_initialisation_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeding.initialisation(0, "encoder", 0):
        first = torch.nn.Linear(3, 2).weight.clone()
    assert torch.equal(torch.rand(2), expected)
    with seeding.initialisation(0, "encoder", 0):
        assert torch.equal(torch.nn.Linear(3, 2).weight, first)


def test_correlation_of_neighbouring_streams_is_small() -> None:
    a, b = (torch.randn(100_000, generator=seeding.torch_generator(0, "noise", client)) for client in (0, 1))
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.02


def numpy_state() -> str:
    return repr(np.random.get_state(legacy=False))  # noqa: NPY002


def draw(normals: int) -> list[float]:
    return [np.random.standard_normal() for _ in range(normals)]  # noqa: NPY002


@pytest.fixture
def global_numpy() -> Iterator[None]:
    generator, state = get_bit_generator(), np.random.get_state(legacy=False)  # noqa: NPY002
    yield
    set_bit_generator(generator)
    np.random.set_state(state)  # noqa: NPY002


@pytest.mark.usefixtures("global_numpy")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(4)), st.lists(st.integers(0, 3), min_size=4, max_size=4), st.integers(0, 4))
def test_every_context_leaves_what_it_found(order: list[int], normals: list[int], abandoned: int) -> None:
    """Also where several overlap, as those of threads do, and where some never end, as that of a client that hangs."""
    position, contexts, found = get_bit_generator(), [], []
    for index in range(4):
        draw(normals[index])
        found.append(numpy_state())
        contexts.append(seeding.own_globals(1, "a", index))
        contexts[-1].__enter__()
    for index in order[abandoned:]:
        contexts[index].__exit__(None, None, None)
        assert numpy_state() == found[index]
        with seeding.own_globals(2, "b"), seeding.own_globals(2, "c"):
            draw(1)
        assert numpy_state() == found[index]
    assert get_bit_generator() is position


def test_a_stream_goes_on_after_a_context_in_it_as_if_there_had_been_none() -> None:
    with seeding.own_globals(1, "server"):
        expected = draw(7)
    with seeding.own_globals(1, "server"):
        found = []
        for k in range(7):
            found += draw(1)
            with seeding.own_globals(1, "message", k):
                draw(k)
    assert found == expected


@pytest.mark.usefixtures("global_numpy")
@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.PCG64])
def test_whatever_numpy_draws_from_outside_streams_are_the_same(kind: type[np.random.BitGenerator]) -> None:
    with seeding.own_globals(1, "a"):
        expected = draw(3)
    own = kind(3)
    set_bit_generator(own)
    np.random.standard_normal()  # noqa: NPY002 - a second number now waits
    before = numpy_state()
    with seeding.own_globals(1, "a"):
        assert draw(3) == expected
        set_bit_generator(np.random.PCG64(5))  # somebody else's code may
    assert get_bit_generator() is own
    assert numpy_state() == before
