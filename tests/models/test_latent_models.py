import pytest
import torch

from semfed import models
from semfed.errors import ScenarioError
from semfed.scenario import plugins


def build(name: str, shape: tuple[int, ...], outputs: int | None = None, **settings: object) -> torch.nn.Module:
    return models.build(plugins.parse("models", {"name": name, **settings}), shape, outputs=outputs, stream=(0, "x", 0))


def test_latent_classifier_is_the_papers_and_ignores_length() -> None:
    network = build("latent-classifier", (12,), 10)
    kinds = [type(layer).__name__ for layer in network]
    assert kinds == ["Flatten", "UnitNorm", "LayerNorm", "Linear", "Tanh", "LayerNorm", "Linear"]
    x = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    assert network(x).shape == (5, 10)
    assert torch.allclose(network(x), network(7 * x), atol=1e-5)
    with pytest.raises(ScenarioError, match="decoder"):
        build("latent-classifier", (12,))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28)])
def test_convnet_halves_the_image_and_gives_its_outputs(shape: tuple[int, ...]) -> None:
    network = build("convnet", shape, channels=[4, 6], outputs=7)
    assert network(torch.zeros(2, *shape)).shape == (2, 7)
    assert network[1].in_features == 6 * (shape[1] // 4) ** 2
    with pytest.raises(ScenarioError, match="outputs"):
        build("convnet", shape)


def test_mlp_with_tanh_ends_linearly() -> None:
    kinds = [type(layer).__name__ for layer in build("mlp", (4,), hidden=[3], outputs=2, activation="tanh")]
    assert kinds == ["Flatten", "Linear", "Tanh", "Linear"]
    kinds = [type(layer).__name__ for layer in build("mlp", (4,), hidden=[3], outputs=2, final_relu=True)]
    assert kinds == ["Flatten", "Linear", "ReLU", "Linear", "ReLU"]
