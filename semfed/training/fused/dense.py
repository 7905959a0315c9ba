"""Fully connected networks with their gradients in closed form.

For layers of a few dozen units autograd's bookkeeping, a node of a graph per operation, costs as much as the
arithmetic.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

RELU_BACKWARD = torch.ops.aten.threshold_backward.default
"""(gradient, values, threshold) -> gradient where the values exceed the threshold, 0 elsewhere."""


class Dense:
    """Linear layers, each with or without a ReLU, on the parameters of modules.

    Parameters
    ----------
    layers : sequence of nn.Linear
        With biases.
    rectified : sequence of bool
        Which of them a ReLU follows.
    """

    def __init__(self, layers: Sequence[nn.Linear], rectified: Sequence[bool]) -> None:
        weights = [layer.weight.detach() for layer in layers]
        self.layers = [(w, w.t(), layer.bias.detach()) for w, layer in zip(weights, layers, strict=True)]
        self.rectified = tuple(rectified)
        self._kept_ones = torch.empty(0)

    @classmethod
    def of(cls, network: nn.Module) -> "Dense | None":
        """Return a network as such layers, None if it is made of anything else; it shares the parameters."""
        if not isinstance(network, nn.Sequential):
            return None
        parts = [part for part in network if not isinstance(part, nn.Flatten)]
        linear = [part for part in parts if isinstance(part, nn.Linear) and part.bias is not None]
        followed = {before for before, after in pairwise(parts) if isinstance(after, nn.ReLU)}
        rectified = [part in followed for part in linear]
        return cls(linear, rectified) if len(linear) + sum(rectified) == len(parts) else None

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return what goes into every layer, and the output at the end.

        Parameters
        ----------
        x : Tensor, shape (batch, inputs)
        """
        values = [x]
        for (_, transposed, bias), relu in zip(self.layers, self.rectified, strict=True):
            y = torch.addmm(bias, values[-1], transposed)
            values.append(y.relu_() if relu else y)
        return values

    def descend(self, slope: Tensor, values: Sequence[Tensor], rate: float, *, to_input: bool) -> Tensor:
        """Differentiate a scalar and take a step of gradient descent, within the products that make the gradients.

        Parameters
        ----------
        slope : Tensor, shape (batch, outputs)
            The scalar's gradient with respect to the output.
        values : sequence of Tensor
            From `forward`.
        rate : float
            What the gradients, which are never stored, are multiplied by when they are subtracted.
        to_input : bool
            Whether the first layer passes the gradient on.

        Returns
        -------
        Tensor, shape (batch, inputs)
            The gradient with respect to the input before the step, or what the first layer got if it does not pass
            it on.
        """
        ones = self._ones(slope)
        for k in reversed(range(len(self.layers))):
            weight, _, bias = self.layers[k]
            if self.rectified[k]:
                slope = RELU_BACKWARD(slope, values[k + 1], 0)
            lower = torch.mm(slope, weight) if k or to_input else slope
            upright = slope.t()
            weight.addmm_(upright, values[k], alpha=-rate)
            bias.addmv_(upright, ones, alpha=-rate)
            slope = lower
        return slope

    def _ones(self, like: Tensor) -> Tensor:
        """Return a vector of ones, one a row: a product with it sums over a batch and subtracts in one call."""
        if self._kept_ones.shape[0] != like.shape[0]:
            self._kept_ones = like.new_ones(like.shape[0])
        return self._kept_ones
