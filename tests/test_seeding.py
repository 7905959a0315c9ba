import numpy as np
import torch
from hypothesis import given
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


def test_a_lent_generator_that_somebody_has_put_back_is_not_lent_again() -> None:
    """As after contexts that did not end in the order in which they began."""
    own = get_bit_generator()
    with seeding.own_globals(1, "a"):
        left = get_bit_generator()
    try:
        set_bit_generator(left)
        np.random.seed(5)  # noqa: NPY002
        np.random.standard_normal()  # noqa: NPY002 - a second number now waits in the state
        before = repr(np.random.get_state())  # noqa: NPY002
        with seeding.own_globals(1, "b"), seeding.own_globals(2, "c"):
            np.random.standard_normal()  # noqa: NPY002
        assert repr(np.random.get_state()) == before  # noqa: NPY002
    finally:
        set_bit_generator(own)
