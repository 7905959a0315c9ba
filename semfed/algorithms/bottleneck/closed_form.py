"""A specific unit's steps of plain SGD in closed form, for fully connected units on an additive channel.

What they descend is `specific_unit.train`'s objective, eq. (20), up to rounding; they spare autograd, which for units
of this size takes more time than the arithmetic.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semfed.algorithms.bottleneck import priors
from semfed.channels import Channel, ChannelState
from semfed.models.layers.gaussian import GaussianEncoder
from semfed.training.fused.dense import Dense
from semfed.training.loop import Step
from semfed.training.losses import decision_loss_and_slope


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
        if trunk is None or decoder_ is None or not channel.additive:
            return None
        heads = [Dense([head], [False]) for head in (encoder.mean, encoder.log_variance)]
        return cls(trunk, heads[0], heads[1], encoder.bounded, decoder_)


def descent(
    unit: Unit,
    source: Callable[[Tensor, torch.Generator], Tensor],
    channel: Channel,
    state: ChannelState,
    cost: priors.NormalPrior,
    weight: float,
    rate: float,
) -> Step:
    """Return the step (batch, targets) -> objective in nats: plain SGD with the learning rate `rate`.

    Draws are taken from the state's generator in the order in which `specific_unit.train` takes them.
    """

    @torch.no_grad()
    def step(batch: Tensor, targets: Tensor) -> Tensor:
        values = unit.trunk.forward(source(batch, state.generator).flatten(1))
        mean, log_variance = unit.mean.forward(values[-1])[-1], unit.log_variance.forward(values[-1])[-1]
        if unit.bounded:
            mean.tanh_()
            log_variance.sigmoid_()
        noise = torch.randn(mean.shape, generator=state.generator, dtype=mean.dtype, device=mean.device)
        away = torch.exp(0.5 * log_variance).mul_(noise)
        x = mean + away
        received = unit.decoder.forward(channel(x, state))
        loss, slope = decision_loss_and_slope(received[-1], targets)
        share = weight / len(batch)
        paid, of_x, of_mean, of_log_variance = cost.with_slopes(x, mean, log_variance)

        slope = unit.decoder.descend(slope, received, rate, to_input=True)
        if of_x is not None:
            slope.add_(of_x, alpha=share)
        to_mean = torch.add(slope, of_mean, alpha=share)
        to_log_variance = of_log_variance.mul_(share).addcmul_(slope, away, value=0.5)
        if unit.bounded:
            to_mean = torch.ops.aten.tanh_backward(to_mean, mean)
            to_log_variance = torch.ops.aten.sigmoid_backward(to_log_variance, log_variance)
        slope = unit.mean.descend(to_mean, values[-1:], rate, to_input=True)
        slope.add_(unit.log_variance.descend(to_log_variance, values[-1:], rate, to_input=True))
        unit.trunk.descend(slope, values, rate, to_input=False)
        return loss.add_(paid, alpha=share)

    return step
