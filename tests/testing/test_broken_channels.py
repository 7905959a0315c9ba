"""For every check of channels, a channel that fails it and no other."""

import math
from typing import Any

import pytest
import torch
from pydantic import Field, field_validator
from torch import Tensor

from semfed.channels import ChannelSettings, ChannelState
from semfed.channels.awgn import AWGN
from semfed.errors import ScenarioError
from semfed.testing import CheckFailed, check_channel
from semfed.testing.channels import KIT

from .failing import assert_fails, failures


class Doubling(AWGN):
    class Settings(ChannelSettings):
        gain: float = 1.0

        @field_validator("gain")
        @classmethod
        def _double(cls, value: float) -> float:
            return 2 * value


class Repeating(AWGN):
    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        return super().distort(x, state).repeat(1, 2)


class AlwaysDouble(AWGN):
    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        return super().distort(x, state).double()


class InPlace(AWGN):
    def forward(self, x: Tensor, state: ChannelState) -> Tensor:
        y = super().forward(x, state)
        if not x.requires_grad:
            x.add_(1)
        return y


class Drifting(AWGN):
    calls = 0

    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        self.calls += x.dtype == torch.float32
        return super().distort(x, state) + 1e-3 * self.calls


class Fixed(AWGN):
    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        return self.add_noise(x, ChannelState(torch.Generator().manual_seed(0), state.meter))


class Global(AWGN):
    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        torch.randn(1)
        return super().distort(x, state)


class Free(AWGN):
    def count_uses(self, x: Tensor) -> int:
        return 0


class Deaf(AWGN):
    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        return super().distort(x, state).detach()


class Steep(AWGN):
    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        return super().distort(x, state) + (x - x.detach())


class Boasting(AWGN):
    @property
    def additive(self) -> bool:
        return True

    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        return super().distort(x, state).clamp(-1, 1)


class Loud(AWGN):
    def transmit(self, x: Tensor, state: ChannelState) -> Tensor:
        state.uses += self.count_uses(x)
        sent = 2 * x / x.square().mean(1, keepdim=True).sqrt()
        if state.meter is not None:
            state.meter.note_sent(sent, sent.numel())
        return sent


class Noisy(AWGN):
    def add_noise(self, signal: Tensor, state: ChannelState) -> Tensor:
        noise = 10 ** (-self.settings.snr_db / 10) * torch.randn(
            signal.shape, generator=state.generator, dtype=signal.dtype
        )
        if state.meter is not None:
            state.meter.note_received(signal, noise)
        return signal + noise


class Own(AWGN):
    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        return x + 0.1 * torch.randn(x.shape, generator=state.generator, dtype=x.dtype)


class Measured(AWGN):
    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        if state.meter is not None:
            torch.rand(1, generator=state.generator)
        return super().distort(x, state)


BROKEN: dict[str, Any] = {
    "settings_can_be_written_and_read": Doubling,
    "output_has_the_shape_of_the_input": Repeating,
    "output_has_the_type_of_the_input": AlwaysDouble,
    "input_is_not_changed": InPlace,
    "equal_generators_give_equal_output": Drifting,
    "other_generators_give_other_output": Fixed,
    "only_its_generator_is_drawn_from": Global,
    "uses_are_counted": Free,
    "gradients_reach_the_sender": Deaf,
    "gradients_agree_with_finite_differences": Steep,
    "additive_is_true": Boasting,
    "transmit_power_is_as_declared": Loud,
    "noise_power_is_that_of_the_snr": Noisy,
    "snr_has_an_effect": Own,
    "measuring_changes_nothing": Measured,
}


def test_every_check_has_one() -> None:
    assert list(BROKEN) == list(KIT.functions)


@pytest.mark.parametrize("name", BROKEN)
def test_it_fails_that_check_alone(name: str) -> None:
    assert_fails(KIT, name, BROKEN[name])


class Erasure(AWGN):
    """Of one's own, without noise: what it does not have, it says."""

    class Settings(ChannelSettings):
        snr_db: float = Field(default=math.inf, ge=math.inf, allow_inf_nan=True)
        probability: float = Field(default=0.1, ge=0, le=1)

    settings: Settings

    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        return x * (torch.rand(x.shape, generator=state.generator) >= self.settings.probability)


def test_a_channel_without_noise_passes_and_learns_what_does_not_apply() -> None:
    told = check_channel({"name": Erasure, "probability": 0.4})
    assert told["gradients_agree_with_finite_differences"] == "passed"
    assert told["snr_has_an_effect"] == "the SNR is fixed"
    assert told["noise_power_is_that_of_the_snr"] == "there is no noise with these settings"


class Unseeded(AWGN):
    """What a new user writes first."""

    def distort(self, x: Tensor, state: ChannelState) -> Tensor:
        return x + torch.randn_like(x) * self.settings.noise_std


def test_the_first_mistake_is_told_with_its_remedy() -> None:
    with pytest.raises(CheckFailed) as told:
        check_channel(Unseeded)
    assert "it moves the global generator of torch: draw from state.generator" in str(told.value)
    assert all(line.startswith("Unseeded fails ") for line in str(told.value).splitlines())


def test_what_is_no_channel_or_has_no_such_setting_is_refused() -> None:
    with pytest.raises(ScenarioError, match="is none of the channels"):
        check_channel("semfed.models.mlp:MLP")
    with pytest.raises(ScenarioError, match="did you mean 'probability'"):
        check_channel({"name": Erasure, "probabilty": 0.4})
    with pytest.raises(ScenarioError, match="did you mean 'awgn'"):
        check_channel("awng")


def test_what_a_part_raises_is_told_with_the_check() -> None:
    class Raising(AWGN):
        def distort(self, x: Tensor, state: ChannelState) -> Tensor:
            raise ZeroDivisionError("as asked")

    Raising.__qualname__ = "Raising"
    globals()["Raising"] = Raising
    told = failures(KIT, Raising)["input_is_not_changed"]
    assert told.startswith("Raising fails input_is_not_changed: ZeroDivisionError: as asked")
