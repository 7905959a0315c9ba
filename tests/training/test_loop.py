import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from semfed import training
from semfed.errors import ScenarioError
from semfed.scenario import TrainingSettings
from semfed.training.optimizers import make_optimizer


def problem() -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 4, generator=generator)
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(torch.randn(2, 4, generator=generator))
        model.bias.zero_()
    return model, x, (x.sum(1) > 0).long()


@pytest.mark.parametrize(
    "settings",
    [
        TrainingSettings(optimizer="sgd", lr=0.1, momentum=0.5, weight_decay=0.01),
        TrainingSettings(optimizer="sgd", lr=0.1),
        TrainingSettings(optimizer="adam", lr=0.01, weight_decay=0.01),
    ],
    ids=lambda s: f"{s.optimizer}-{s.momentum}",
)
def test_optimisers_agree_with_torch(settings: TrainingSettings) -> None:
    ours, x, y = problem()
    theirs, _, _ = problem()
    if settings.optimizer == "adam":
        reference: torch.optim.Optimizer = torch.optim.Adam(theirs.parameters(), lr=settings.lr, weight_decay=0.01)
    else:
        reference = torch.optim.SGD(
            theirs.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
    parameters = list(ours.parameters())
    optimizer = make_optimizer(settings, parameters)
    for _ in range(10):
        optimizer.step(torch.autograd.grad(cross_entropy(ours(x), y), parameters))
        reference.zero_grad()
        cross_entropy(theirs(x), y).backward()
        reference.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)
    assert torch.allclose(ours.bias, theirs.bias, atol=1e-6)


def fit(settings: TrainingSettings, seed: int = 0) -> tuple[float, torch.Tensor]:
    model, x, y = problem()
    generator = torch.Generator().manual_seed(seed)
    loss = training.fit(lambda a, b: cross_entropy(model(a), b), [model], x, y, settings=settings, generator=generator)
    return loss, model.weight.detach()


def test_fit_is_deterministic_per_generator() -> None:
    settings = TrainingSettings(epochs=3, batch_size=8, lr=0.1)
    assert torch.equal(fit(settings)[1], fit(settings)[1])
    assert not torch.equal(fit(settings)[1], fit(settings, seed=1)[1])


def test_one_full_batch_is_one_gradient_step() -> None:
    model, x, y = problem()
    gradient = torch.autograd.grad(cross_entropy(model(x), y), model.weight)[0]
    loss, weight = fit(TrainingSettings(epochs=1, batch_size=50, lr=0.1))
    assert torch.allclose(weight, model.weight - 0.1 * gradient, atol=1e-6)
    assert loss == pytest.approx(cross_entropy(model(x), y).item(), abs=1e-6)


def test_every_sample_is_seen_once_an_epoch() -> None:
    seen: list[torch.Tensor] = []
    model, x, y = problem()

    def loss(batch: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        seen.append(batch)
        return cross_entropy(model(batch), wanted)

    settings = TrainingSettings(epochs=1, batch_size=8)
    training.fit(loss, [model], x, y, settings=settings, generator=torch.Generator().manual_seed(0))
    assert [len(batch) for batch in seen] == [8] * 6 + [2]
    assert torch.equal(torch.cat(seen).sort(0).values, x.sort(0).values)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"training.device = 'cuda:99'.*set training.device to 'auto'"):
        training.pick_device("cuda:99")
    assert training.pick_device("cpu").type == "cpu"


def test_plain_descent_is_the_fused_kernel_bit_for_bit() -> None:
    ours, x, y = problem()
    theirs, _, _ = problem()
    optimizer = make_optimizer(TrainingSettings(optimizer="sgd", lr=0.1), list(ours.parameters()))
    reference = torch.optim.SGD(theirs.parameters(), lr=0.1, fused=True)
    for _ in range(10):
        optimizer.step(torch.autograd.grad(cross_entropy(ours(x), y), list(ours.parameters())))
        reference.zero_grad()
        cross_entropy(theirs(x), y).backward()
        reference.step()
    assert torch.equal(ours.weight, theirs.weight)
