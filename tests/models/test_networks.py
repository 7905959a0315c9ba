"""Shapes of the papers' networks, and dropout that asks nobody else for randomness."""

import pytest
import torch
from torch import nn

from semfed.errors import ScenarioError
from semfed.models.cnn import CNN
from semfed.models.layers.dropout import Dropout, draw_from
from semfed.models.mlp import MLP
from semfed.models.proportional import Proportional
from semfed.training import weights


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_encoders_of_multi_receiver_communications() -> None:
    fashion = CNN(CNN.Settings(stages=[{"filters": [32]}, {"filters": [32], "dropout": 0.5}], hidden=[128]))
    assert count(fashion.build((1, 28, 28), 20)) == 320 + 9248 + (800 * 128 + 128) + (128 * 20 + 20)
    stages = [{"filters": [8, 4], "dropout": 0.1}, {"filters": [4], "dropout": 0.1}]
    cifar = CNN(CNN.Settings(stages=stages, hidden=[128]))
    assert count(cifar.build((3, 32, 32), 20)) == 224 + 292 + 148 + (144 * 128 + 128) + (128 * 20 + 20)


def test_common_unit_for_cifar10() -> None:
    stages = [{"filters": [64, 32], "dropout": 0.2}, {"filters": [32]}, {"filters": [16]}]
    network = CNN(CNN.Settings(stages=stages, padding=1, outputs=256, final_relu=True)).build((3, 32, 32), None)
    assert [m.in_features for m in network if isinstance(m, nn.Linear)] == [256]
    out = network.eval()(torch.randn(2, 3, 32, 32))
    assert out.shape == (2, 256)
    assert float(out.detach().min()) >= 0


def test_decoders_follow_the_channel_uses() -> None:
    network = Proportional(Proportional.Settings(fractions=[1.0, 0.5])).build((20,), 2)
    assert [m.out_features for m in network if isinstance(m, nn.Linear)] == [20, 10, 2]
    narrow = Proportional(Proportional.Settings(fractions=[0.1])).build((2,), 3)
    assert [m.out_features for m in narrow if isinstance(m, nn.Linear)] == [1, 3]


def test_open_widths_and_small_images_are_refused() -> None:
    for plugin in (CNN(CNN.Settings(stages=[{"filters": [4]}])), Proportional(Proportional.Settings())):
        with pytest.raises(ScenarioError, match="set the width"):
            plugin.build((1, 28, 28), None)
    with pytest.raises(ScenarioError, match="too small"):
        CNN(CNN.Settings(stages=[{"filters": [4, 4, 4, 4]}])).build((1, 8, 8), 2)


def test_dropout_draws_from_its_generator_alone() -> None:
    network = MLP(MLP.Settings(hidden=[1000], dropout=0.25)).build((4,), 3)
    layer = next(m for m in network if isinstance(m, Dropout))
    assert network[-2] is layer
    with pytest.raises(ValueError, match="draw_from"):
        network.train()(torch.ones(2, 4))
    before = torch.random.get_rng_state()
    draw_from(network, torch.Generator().manual_seed(0))
    kept = layer(torch.ones(100, 1000))
    assert torch.equal(before, torch.random.get_rng_state())
    assert float((kept == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(kept.mean()) == pytest.approx(1, abs=0.02)
    assert torch.equal(layer.eval()(torch.ones(3)), torch.ones(3))


def test_weights_are_read_and_written_by_name_and_prefix() -> None:
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    arrays = {**weights.of(one, "a/"), **weights.of(nn.Linear(1, 1), "b/")}
    weights.restore(other, arrays, "a/")
    assert torch.equal(one.weight, other.weight)
    assert not any(arrays["a/weight"] is array for array in weights.of(one).values())
