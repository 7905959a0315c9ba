import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from semfed.scenario import TrainingSettings
from semfed.training import minibatches, shuffled
from semfed.training.weights import pack, unpack


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 3), st.integers(0, 5))
def test_every_epoch_has_every_sample_once_and_no_minibatch_of_one(
    samples: int, size: int, epochs: int, seed: int
) -> None:
    settings = TrainingSettings(batch_size=size, epochs=epochs)
    indices, sizes = minibatches(samples, settings, torch.Generator().manual_seed(seed))
    again, _ = minibatches(samples, settings, torch.Generator().manual_seed(seed))
    assert torch.equal(indices, again)
    assert sorted(indices.tolist()) == sorted(list(range(samples)) * epochs)
    by_epoch = [sizes[k * len(sizes) // epochs : (k + 1) * len(sizes) // epochs] for k in range(epochs)]
    assert all(sum(own) == samples for own in by_epoch)
    assert all(own[:-1] == [size] * (len(own) - 1) for own in by_epoch)
    if samples > 1 and size > 1:
        assert min(sizes) > 1
    assert max(sizes) <= size + 1


def test_packed_tensors_come_back_with_their_shapes_and_types() -> None:
    tensors = {"a": torch.randn(2, 3), "steps": torch.tensor(7.0), "count": torch.tensor(3), "none": torch.empty(0, 4)}
    back = unpack(pack(tensors), {name: torch.zeros_like(tensor) for name, tensor in tensors.items()})
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
    assert unpack(pack({}), {}) == {}


def test_a_vector_of_another_network_is_refused() -> None:
    with pytest.raises(RuntimeError):
        unpack(pack({"a": torch.zeros(3)}), {"a": torch.zeros(2), "b": torch.zeros(2)})


def test_an_epoch_is_shuffled_after_what_the_one_before_has_drawn() -> None:
    settings, generator = TrainingSettings(epochs=2, batch_size=3), torch.Generator().manual_seed(5)
    expected, drawn, again = [], [], torch.Generator().manual_seed(5)
    for _ in range(2):
        expected += torch.split(torch.randperm(7, generator=again), [3, 4])
        drawn.append(torch.rand(2, generator=again))
    found = []
    for rows in shuffled(7, settings, generator):
        found.append(rows)
        if len(rows) == 4:
            assert torch.equal(torch.rand(2, generator=generator), drawn[len(found) // 2 - 1])
    assert [rows.tolist() for rows in found] == [rows.tolist() for rows in expected]
