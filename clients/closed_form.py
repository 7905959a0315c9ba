"""A specific unit's objective with its gradient in closed form, for fully connected units on an AWGN channel.

What it computes is `specific_unit.train`'s objective, eq. (20), up to rounding; it spares autograd, which for units of
this size takes more time than the arithmetic.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semfed import priors, training
from semfed.channels import Channel, ChannelState
from semfed.channels.awgn import AWGN
from semfed.decisions import decision_loss_and_slope
from semfed.models.dense import Dense
from semfed.models.gaussian import GaussianEncoder


@dataclass(frozen=True)
class Unit:
    """The parts of a specific unit and its decoder."""

    trunk: Dense
    mean: Dense
    log_variance: Dense
    bounded: bool
    decoder: Dense

    @classmethod
    def of(cls, encoder: GaussianEncoder, channel: Channel, decoder: nn.Module) -> "Unit | None":
        """Return the unit, None if something in it has no closed form here."""
        trunk, decoder_ = Dense.of(encoder.trunk), Dense.of(decoder)
        additive = type(channel) is AWGN and channel.settings.power == "none"
        if trunk is None or decoder_ is None or not additive:
            return None
        heads = [Dense([head], [False]) for head in (encoder.mean, encoder.log_variance)]
        return cls(trunk, heads[0], heads[1], encoder.bounded, decoder_)


def objective(
    unit: Unit,
    source: Callable[[Tensor, torch.Generator], Tensor],
    channel: Channel,
    state: ChannelState,
    cost: priors.NormalPrior,
    weight: float,
) -> training.Step:
    """Return the step (batch, targets) -> (objective in nats, its gradients in the order of the parameters).

    Draws are taken from the state's generator in the order in which `specific_unit.train` takes them.
    """

    @torch.no_grad()
    def step(batch: Tensor, targets: Tensor) -> tuple[Tensor, list[Tensor]]:
        values = unit.trunk.forward(source(batch, state.generator).flatten(1))
        mean, log_variance = unit.mean.forward(values[-1])[-1], unit.log_variance.forward(values[-1])[-1]
        if unit.bounded:
            mean.tanh_()
            log_variance.sigmoid_()
        noise = torch.randn(mean.shape, generator=state.generator, dtype=mean.dtype, device=mean.device)
        deviation = torch.exp(0.5 * log_variance)
        x = torch.addcmul(mean, deviation, noise)
        received = unit.decoder.forward(channel(x, state))
        loss, slope = decision_loss_and_slope(received[-1], targets)
        share = weight / len(batch)
        paid, of_x, of_mean, of_log_variance = cost.with_slopes(x, mean, log_variance)

        slope, decoder = unit.decoder.backward(slope, received, to_input=True)
        if of_x is not None:
            slope.add_(of_x, alpha=share)
        to_mean = torch.add(slope, of_mean, alpha=share)
        to_log_variance = slope.mul_(noise).mul_(deviation).mul_(0.5).add_(of_log_variance, alpha=share)
        if unit.bounded:
            to_mean = torch.ops.aten.tanh_backward(to_mean, mean)
            to_log_variance = torch.ops.aten.sigmoid_backward(to_log_variance, log_variance)
        pairs = ((unit.mean, to_mean), (unit.log_variance, to_log_variance))
        backs = [head.backward(to_head, values[-1:], to_input=True) for head, to_head in pairs]
        _, trunk = unit.trunk.backward(backs[0][0].add_(backs[1][0]), values, to_input=False)
        return loss.add_(paid.sum(), alpha=share), [*trunk, *backs[0][1], *backs[1][1], *decoder]

    return step
