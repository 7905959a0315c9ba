import pytest
import torch
from torch import Tensor

from semfed.models.layers.apart import apart


def test_gradients_pass_what_is_done_model_by_model() -> None:
    """y_k = k x_k^2, so that dy/dx = 2 k x."""

    def squares(stacked: Tensor) -> Tensor:
        return torch.stack([k * row.square() for k, row in enumerate(stacked)])

    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    y = torch.vmap(lambda one: apart(squares, one).sum())(x)
    assert torch.equal(y, torch.tensor([0.0, 25.0, 122.0]))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, torch.tensor([[0.0, 0.0], [6.0, 8.0], [20.0, 24.0]]))


def test_a_hidden_dimension_is_the_first_one_wherever_it_lies() -> None:
    seen = []

    def look(stacked: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(stacked.shape)
        return stacked + 1, stacked.sum(1)

    x = torch.arange(6.0).view(2, 3)
    more, sums = torch.vmap(lambda one: apart(look, one), in_dims=1)(x)
    assert seen == [(3, 2)]
    assert torch.equal(more, x.t() + 1)
    assert torch.equal(sums, torch.tensor([3.0, 5.0, 7.0]))


def test_there_is_nothing_to_take_apart_elsewhere() -> None:
    with pytest.raises(RuntimeError, match=r"for torch\.vmap"):
        apart(lambda stacked: stacked, torch.ones(2))
