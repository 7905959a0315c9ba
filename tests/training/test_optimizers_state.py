import pytest
import torch
from torch import nn

from semfed.scenario import TrainingSettings
from semfed.training.optimizers import make_optimizer

SETTINGS = [
    TrainingSettings(lr=0.1),
    TrainingSettings(lr=0.1, momentum=0.9),
    TrainingSettings(optimizer="adam", lr=0.01),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradients_in_another_memory_layout_give_the_same_step(settings: TrainingSettings) -> None:
    """The gradients of convolutions come out of ``torch.autograd.grad`` in channels-last order at times."""
    gradient = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    steps = []
    for layout in (torch.contiguous_format, torch.channels_last):
        parameter = nn.Parameter(torch.zeros(6, 5, 3, 3))
        make_optimizer(settings, [parameter]).step([gradient.contiguous(memory_format=layout)])
        steps.append(parameter.detach())
    assert torch.equal(*steps)


@pytest.mark.parametrize("settings", SETTINGS)
def test_training_goes_on_from_a_saved_state(settings: TrainingSettings) -> None:
    gradients = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))

    def trained(pause: bool) -> torch.Tensor:
        parameter = nn.Parameter(torch.ones(3))
        optimizer = make_optimizer(settings, [parameter])
        for k, gradient in enumerate(gradients):
            if pause and k in (0, 2):
                state = {name: tensor.clone() for name, tensor in optimizer.state().items()}
                optimizer = make_optimizer(settings, [parameter])
                optimizer.load_state(state)
            optimizer.step([gradient])
        return parameter.detach()

    assert torch.equal(trained(True), trained(False))
