"""Checks of channels: what encoders, decoders and the accounts rely on."""

import math
from dataclasses import dataclass

import torch
from pydantic import ValidationError
from torch import Tensor

from semfed import seeding
from semfed.channels import Channel, ChannelSettings, ChannelState, Meter
from semfed.channels.base import NO_EFFECT
from semfed.errors import ScenarioError
from semfed.scenario.plugins import Plugin
from semfed.testing.check import Subject, require, skip, without_global_draws
from semfed.testing.kit import Kit, Part

USES, BATCH = 4, 64
MANY = 20_000
"""Samples of a Monte Carlo measurement; five of its standard deviations are allowed."""


@dataclass(frozen=True)
class ChannelSubject(Subject):
    """A channel with `USES` uses a sample, if its settings leave that open."""

    def make(self, **changes: object) -> Channel:
        """Make a channel, perhaps with other settings."""
        channel: Channel = self.choice.amended(**{"uses": self.choice.settings.uses or USES, **changes}).make()
        return channel

    @property
    def settings(self) -> ChannelSettings:
        """Of the channel that is made."""
        return self.make().settings

    def signal(self, batch: int = BATCH, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return what an encoder might give out, neither centred nor of unit power: shape (batch, numbers)."""
        generator = torch.Generator().manual_seed(9)
        return torch.randn(batch, self.settings.width or 0, generator=generator, dtype=dtype) * 3 + 1


def _subject(choice: Plugin) -> ChannelSubject:
    if not (isinstance(choice.load(), type) and issubclass(choice.load(), Channel)):
        raise ScenarioError(f"{choice.name!r} is no channel: derive it from semfed.channels.Channel")
    return ChannelSubject(choice)


KIT = Kit("channels", _subject)


def check_channel(part: Part) -> dict[str, str]:
    """Run all checks of a channel.

    Parameters
    ----------
    part : str, type or mapping
        Its name, the class, or a table with ``name`` and settings.

    Returns
    -------
    dict of str to str
        By check, ``passed``, or why it does not apply.

    Raises
    ------
    CheckFailed
        With one line for every check that failed.
    """
    return KIT.run(part)


def _state(seed: int = 0, meter: Meter | None = None) -> ChannelState:
    return ChannelState(torch.Generator().manual_seed(seed), meter)


@KIT.check
def output_has_the_shape_of_the_input(subject: ChannelSubject) -> None:
    """Check, for a decoder is made for as many numbers as the encoder gives out."""
    x = subject.signal()
    y = subject.make()(x, _state())
    require(
        y.shape == x.shape,
        f"numbers of shape {tuple(x.shape)} come out as {tuple(y.shape)}: return as many as there came",
    )


@KIT.check
def output_has_the_type_of_the_input(subject: ChannelSubject) -> None:
    """Single and double precision both pass."""
    for dtype in (torch.float32, torch.float64):
        y = subject.make()(subject.signal(dtype=dtype), _state())
        require(
            y.dtype == dtype, f"numbers of {dtype} come out as {y.dtype}: draw and compute in the type of the input"
        )


@KIT.check
def input_is_not_changed(subject: ChannelSubject) -> None:
    """Somebody else may still use what was sent."""
    x = subject.signal()
    before = x.clone()
    subject.make()(x, _state())
    require(torch.equal(x, before), "it writes into its input: leave out operations in place")


@KIT.check
def equal_generators_give_equal_output(subject: ChannelSubject) -> None:
    """Check, for a call depends on its input and its generator, not on the calls before it."""
    channel, found = subject.make(), []
    for _ in range(2):
        with seeding.own_globals(0, "check"):
            found.append(channel(subject.signal(), _state()))
    require(torch.equal(*found), "two calls with equal generators differ: keep nothing between calls")


@KIT.check
def other_generators_give_other_output(subject: ChannelSubject) -> None:
    """Every minibatch, client and round has noise of its own."""
    if not subject.settings.noise_std:
        skip("there is no noise with these settings")
    x, channel = subject.signal(), subject.make()
    require(
        not torch.equal(channel(x, _state(0)), channel(x, _state(1))),
        "two generators give the same noise: draw from state.generator",
    )


@KIT.check
def only_its_generator_is_drawn_from(subject: ChannelSubject) -> None:
    """Check, for the global generators belong to nobody, so that what they give depends on who came before."""
    with without_global_draws("draw from state.generator"):
        subject.make()(subject.signal(), _state())


@KIT.check
def uses_are_counted(subject: ChannelSubject) -> None:
    """Check, for the costs of a run are sums of these."""
    x, channel, state = subject.signal(), subject.make(), _state()
    for calls in (1, 2):
        channel(x, state)
        expected = calls * BATCH * (subject.settings.uses or 0)
        require(
            state.uses == expected,
            f"{calls} x {BATCH} samples of {subject.settings.uses} channel uses count as {state.uses} instead of "
            f"{expected}: let transmit() count, or write count_uses()",
        )


@KIT.check
def gradients_reach_the_sender(subject: ChannelSubject) -> None:
    """Check, for encoders learn through the channel."""
    x = subject.signal().requires_grad_()
    y = subject.make()(x, _state())
    gradient = torch.autograd.grad(y.square().sum(), x)[0] if y.requires_grad else torch.zeros(1)
    require(bool(torch.isfinite(gradient).all()), "gradients are not finite: mind divisions and roots at zero")
    require(bool(gradient.any()), "no gradient passes: leave out detach(), rounding and in-place writes, or pass it on")


@KIT.check
def gradients_agree_with_finite_differences(subject: ChannelSubject) -> None:
    """For one draw of noise and fading, along one direction, in double precision."""
    x, channel = subject.signal(dtype=torch.float64).requires_grad_(), subject.make()
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    slope = torch.randn(channel(x, _state()).shape, generator=generator, dtype=x.dtype)

    def along(step: float) -> Tensor:
        received: Tensor = (channel(x + step * direction, _state()) * slope).sum()
        return received

    y = along(0.0)
    if not y.requires_grad:
        skip("no gradient passes")
    told = float((torch.autograd.grad(y, x)[0] * direction).sum())
    step = 1e-6
    with torch.no_grad():
        measured = float(along(step) - along(-step)) / (2 * step)
    require(
        math.isclose(told, measured, rel_tol=1e-4, abs_tol=1e-4),
        f"the gradient says {told:.6g} where finite differences say {measured:.6g}: mend backward(), or expect this "
        "check to fail where another gradient is meant",
    )


@KIT.check
def additive_is_true(subject: ChannelSubject) -> None:
    """Fused training steps skip the channel's gradient where it calls itself additive."""
    channel, x = subject.make(), subject.signal().requires_grad_()
    if not channel.additive:
        skip("it does not call itself additive")
    y = channel(x, _state())
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(3))
    passed = torch.autograd.grad(y, x, slope)[0] if y.requires_grad else None
    require(
        passed is None or torch.equal(passed, slope),
        "it calls itself additive and changes gradients: let additive be False",
    )


@KIT.check
def transmit_power_is_as_declared(subject: ChannelSubject) -> None:
    """Check for unit average power per symbol, or the input's own where ``power`` is "none"."""
    x, meter = subject.signal(MANY), Meter()
    subject.make()(x, _state(meter=meter))
    told, settings = meter.metrics().get("power/transmit", math.nan), subject.settings
    expected = 1.0 if settings.power != "none" else float(x.double().square().mean()) * settings.reals_per_symbol
    require(
        math.isclose(told, expected, rel_tol=1e-3),
        f"the average power sent per symbol is {told:.4g} instead of {expected:.4g} with power = {settings.power!r}: "
        "let transmit() scale",
    )


@KIT.check
def noise_power_is_that_of_the_snr(subject: ChannelSubject) -> None:
    """10 ** (-snr_db / 10) per symbol, all of it on a real one and half of it on each dimension of a complex one."""
    settings = subject.settings
    if not settings.noise_std:
        skip("there is no noise with these settings")
    meter = Meter()
    subject.make()(subject.signal(MANY), _state(meter=meter))
    if not meter.received:
        skip("it tells nothing of its noise, since it does not call add_noise()")
    told, expected = meter.noise / meter.received, 10 ** (-settings.snr_db / 10) / settings.reals_per_symbol
    require(
        math.isclose(told, expected, rel_tol=5 * math.sqrt(2 / meter.received)),
        f"its noise has power {told:.4g} per real number instead of {expected:.4g} at {settings.snr_db:g} dB: scale "
        "noise by settings.noise_std, or call add_noise()",
    )


@KIT.check
def snr_has_an_effect(subject: ChannelSubject) -> None:
    """Check, for a setting that changes nothing is a trap."""
    try:
        channels = [subject.make(snr_db=snr_db) for snr_db in (-10.0, 30.0)]
    except ValidationError:
        skip("the SNR is fixed")
    x = subject.signal()
    require(
        not torch.equal(*(channel(x, _state()) for channel in channels)),
        f"snr_db = -10 and 30 give the same output: {NO_EFFECT}",
    )


@KIT.check
def measuring_changes_nothing(subject: ChannelSubject) -> None:
    """Check, for tests are measured, training is not, and both go through the same channel."""
    states = (_state(), _state(meter=Meter()))
    require(
        torch.equal(*(subject.make()(subject.signal(), state) for state in states)),
        "a meter changes the output: draw the same numbers with and without one",
    )
