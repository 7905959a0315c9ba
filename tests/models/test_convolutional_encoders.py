import pytest
import torch
from torch import nn

from semfed.errors import ScenarioError
from semfed.models.dcgan import DCGAN
from semfed.models.lenet import LeNet


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8)])
@pytest.mark.parametrize("plugin", [DCGAN, LeNet])
def test_encoders_fit_the_images_of_all_data_sets(plugin: type, shape: tuple[int, int, int]) -> None:
    encoder = plugin(plugin.Settings()).build(shape, 64)
    assert encoder(torch.zeros(5, *shape)).shape == (5, 64)


@pytest.mark.parametrize("nf", [16, 64])
def test_dcgan_has_the_layers_of_the_specification(nf: int) -> None:
    encoder = DCGAN(DCGAN.Settings(nf=nf)).build((3, 32, 32), 64)
    convolutions = [layer for layer in encoder if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [
        (3, nf), (nf, 2 * nf), (2 * nf, 4 * nf), (4 * nf, 64),
    ]  # fmt: skip
    assert [c.kernel_size for c in convolutions] == [(4, 4)] * 4
    assert [type(layer) for layer in encoder][:6] == [
        nn.Conv2d, nn.LeakyReLU, nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU, nn.Conv2d,
    ]  # fmt: skip
    assert {layer.negative_slope for layer in encoder if isinstance(layer, nn.LeakyReLU)} == {0.2}


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(ScenarioError, match="8 x 8 pixels or more"):
        DCGAN(DCGAN.Settings()).build((1, 4, 4), 64)
