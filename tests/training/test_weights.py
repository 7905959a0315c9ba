"""Networks' weights and optimisers' states as single vectors."""

import numpy as np
import torch
from torch import Tensor, nn

from semfed.training import weights


def tensors() -> dict[str, Tensor]:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))  # its count of batches is an integer
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def test_what_was_packed_comes_out_again() -> None:
    given = tensors()
    given["1.num_batches_tracked"] += 7
    found = weights.unpack(weights.pack(given), given)
    assert list(found) == list(given)
    assert all(found[name].dtype == tensor.dtype for name, tensor in given.items())
    assert all(torch.equal(found[name], tensor) for name, tensor in given.items())


def test_a_vector_is_filled_again_with_what_was_changed_in_place_and_with_what_was_not_made_of_it() -> None:
    vector = weights.pack(tensors())
    taken = weights.unpack(vector, tensors())
    taken["0.weight"].mul_(2.0)  # shares the vector's memory
    taken["1.num_batches_tracked"] += 3  # an integer, hence a copy
    taken["1.bias"] = torch.full((2,), 5.0)  # somewhere else altogether
    fresh = weights.pack(taken)
    assert weights.pack(taken, into=vector) is vector
    np.testing.assert_array_equal(vector, fresh)


def test_nothing_packs_into_nothing() -> None:
    assert weights.pack({}).shape == (0,)
    assert weights.pack({}, into=weights.pack({})).shape == (0,)


def test_double_precision_is_kept_to_the_last_bit() -> None:
    """Third parts in float64 are none in float32."""
    given = {"decoder.weight": torch.full((2, 3), 1 / 3, dtype=torch.float64), "decoder.bias": torch.ones(3) / 3}
    vector = weights.pack(given)
    assert vector.dtype == np.float64
    found = weights.unpack(vector, given)
    assert all(found[name].dtype == tensor.dtype for name, tensor in given.items())
    assert all(torch.equal(found[name], tensor) for name, tensor in given.items())
