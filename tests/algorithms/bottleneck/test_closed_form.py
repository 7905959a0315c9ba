"""A specific unit trained by gradients in closed form, against the same training by autograd."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semfed.algorithms.bottleneck import closed_form, specific_unit
from semfed.algorithms.bottleneck.specific_unit import Link, RateSettings, RatioSettings
from semfed.channels import ChannelSettings
from semfed.channels.awgn import AWGN
from semfed.models.layers.gaussian import GaussianEncoder, draw
from semfed.scenario import TrainingSettings


def link(outputs: int, *, bounded: bool = True, power: Any = "none") -> Link:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU())
    decoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))
    channel = AWGN(ChannelSettings(snr_db=0.0, power=power, uses=4))
    return Link(GaussianEncoder(trunk, 8, 4, bounded=bounded), channel, decoder)


def source(inputs: Tensor, generator: torch.Generator) -> Tensor:
    mean, deviation = inputs.chunk(2, dim=1)
    return draw(mean, deviation, generator)


def trained(settings: RateSettings, outputs: int, *, bounded: bool) -> tuple[float, int, list[Tensor]]:
    made, generator = link(outputs, bounded=bounded), torch.Generator().manual_seed(3)
    inputs = torch.rand(230, 12, generator=generator)
    values = torch.randint(max(2, outputs), (230,), generator=generator)
    cost, _ = specific_unit.penalty(made, source, inputs, settings, generator)
    loss, uses = specific_unit.train(
        made,
        source,
        inputs,
        values,
        cost=cost,
        weight=0.3,
        settings=TrainingSettings(epochs=3, batch_size=20, lr=0.1),
        generator=generator,
    )
    return loss, uses, [parameter.detach() for parameter in made.parameters()]


@pytest.mark.parametrize(
    ("outputs", "bounded"),
    [(1, True), (3, False), *(pytest.param(*more, marks=pytest.mark.long) for more in ((1, False), (3, True)))],
)
@pytest.mark.parametrize(
    "change",
    [
        {"dre": RatioSettings(centres=30)},
        {"dre": RatioSettings(method="logistic", samples=100, centres=30)},
        {"dre_grad": "detach"},
        {"prior": "gaussian"},
    ],
    ids=str,
)
def test_training_is_that_of_autograd(
    outputs: int, bounded: bool, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = RateSettings(**change)
    loss, uses, parameters = trained(settings, outputs, bounded=bounded)
    with monkeypatch.context() as patched:
        patched.setattr(closed_form.Unit, "of", lambda *_: None)
        expected_loss, expected_uses, expected = trained(settings, outputs, bounded=bounded)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert uses == expected_uses == 3 * 230 * 4
    torch.testing.assert_close(parameters, expected, atol=1e-6, rtol=0)


def test_units_and_channels_without_a_closed_form_are_left_to_autograd() -> None:
    plain, scaled = link(3), link(3, power="sample")
    assert closed_form.Unit.of(plain.encoder, plain.channel, plain.decoder) is not None
    assert closed_form.Unit.of(scaled.encoder, scaled.channel, scaled.decoder) is None
    squashed = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    assert closed_form.Unit.of(plain.encoder, plain.channel, squashed) is None
