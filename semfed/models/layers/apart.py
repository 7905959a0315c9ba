"""What stacked models do one by one: inside ``torch.vmap`` they are one tensor, and here they are several again."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Stacked = Tensor | tuple[Tensor, ...]


def apart(function: Callable[[Tensor], Stacked], x: Tensor) -> Any:
    """Let a function see a tensor of ``torch.vmap`` with the dimension that is hidden there, and hide it again.

    So every one of several models that are computed together can draw from a random generator of its own. Gradients
    pass: what the function does is recorded as anywhere.

    Parameters
    ----------
    function : callable
        Of a tensor of shape (models, ...); returns one, or a tuple of them, with that first dimension.
    x : Tensor, shape (...)
        Inside ``torch.vmap``.

    Examples
    --------
    >>> def one_by_one(stacked):
    ...     return torch.stack([row * k for k, row in enumerate(stacked)])
    >>> torch.vmap(lambda x: apart(one_by_one, x) + 1)(torch.ones(3, 2))
    tensor([[1., 1.],
            [2., 2.],
            [3., 3.]])
    """
    return _Apart.apply(function, x)


class _Apart(torch.autograd.Function):
    """Torch's public way to say how an operation is vectorised; elsewhere it is none."""

    @staticmethod
    def forward(function: Callable[[Tensor], Stacked], x: Tensor) -> Stacked:
        raise RuntimeError("apart() is for torch.vmap: outside of it there is nothing to take apart")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing to keep: the operations inside are recorded themselves."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[None, int], function: Callable[[Tensor], Stacked], x: Tensor
    ) -> tuple[Stacked, int | tuple[int, ...]]:
        made = function(x.movedim(in_dims[1], 0))
        return made, (0,) * len(made) if isinstance(made, tuple) else 0
