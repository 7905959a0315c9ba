"""For every check of models, a model that fails it and no other."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import field_validator
from torch import Tensor, nn

from semfed.scenario.settings import StrictModel
from semfed.testing import CheckFailed, check_model
from semfed.testing.models import KIT

from .failing import assert_fails

SHAPE = (6,)


class Network(nn.Module):
    """A layer of its own, with something wrong around it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


class Model:
    Settings: type[StrictModel] = StrictModel
    network: type[Network] = Network

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        return self.network(input_shape[0], outputs)


class Doubling(Model):
    class Settings(StrictModel):
        width: int = 1

        @field_validator("width")
        @classmethod
        def _double(cls, value: int) -> int:
            return 2 * value


class Wide(Model):
    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        return self.network(input_shape[0], outputs + 1)


class Double(Model):
    class network(Network):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).double()


class InPlace(Model):
    class network(Network):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x.clone())
            x.add_(1)
            return y


class Unseeded(Model):
    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        network = super().build(input_shape, outputs)
        generator = torch.Generator()
        generator.seed()
        with torch.no_grad():
            for weight in network.parameters():
                weight.copy_(torch.rand(weight.shape, generator=generator))
        return network


class Constant(Model):
    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        network = super().build(input_shape, outputs)
        for weight in network.parameters():
            nn.init.constant_(weight, 0.1)
        return network


class FromNumpy(Model):
    class network(Network):
        def forward(self, x: Tensor) -> Tensor:
            np.random.rand()  # noqa: NPY002
            return super().forward(x)


class Counting(Model):
    class network(Network):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(inputs, outputs)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x)


class Centring(Model):
    class network(Network):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x - x.mean(0))


class Idle(Model):
    class network(Network):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(inputs, outputs)
            self.unused = nn.Linear(2, 2)


class Hidden(Model):
    class network(Network):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(inputs, outputs)
            self.scale = torch.rand(outputs)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.scale


BROKEN: dict[str, Any] = {
    "settings_can_be_written_and_read": Doubling,
    "output_has_the_shape_that_is_asked_for": Wide,
    "numbers_are_in_single_precision": Double,
    "input_is_not_changed": InPlace,
    "equal_streams_give_equal_weights": Unseeded,
    "other_streams_give_other_weights": Constant,
    "global_generators_are_left_alone": FromNumpy,
    "testing_changes_nothing": Counting,
    "samples_do_not_mix_in_a_test": Centring,
    "every_weight_gets_a_gradient": Idle,
    "weights_are_restored_exactly": Hidden,
}


def test_every_check_has_one_and_the_model_itself_none() -> None:
    assert list(BROKEN) == list(KIT.functions)
    assert set(check_model(Model, input_shape=SHAPE).values()) == {"passed"}


@pytest.mark.parametrize("name", BROKEN)
def test_it_fails_that_check_alone(name: str) -> None:
    assert_fails(KIT, name, BROKEN[name], input_shape=SHAPE)


class Exploding(Model):
    class network(Network):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).mul(0).sqrt()


def test_a_gradient_that_is_not_finite_is_told() -> None:
    with pytest.raises(CheckFailed, match=r"the gradient of \['layer.weight', 'layer.bias'\] is not finite"):
        check_model(Exploding, input_shape=SHAPE)
