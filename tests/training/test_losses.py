"""Decisions by one logit or by many, joint values of tasks, and the memory of recent results."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from semfed.data.tasks import joint_values
from semfed.errors import DataError
from semfed.flower.client.recent import Recent
from semfed.scenario import Task
from semfed.training.losses import (
    decide,
    decision_loss,
    decision_loss_and_slope,
    error_rate,
    logits_of,
    probabilities,
)

TWO = Task(values={"yes": ("a",)}, rest="no")
THREE = Task(values=("a", "b", "c"))


def test_one_logit_is_two_logits_with_the_first_at_zero() -> None:
    logits = torch.randn(50, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = (torch.arange(50) % 2).long()
    pair = torch.cat([torch.zeros_like(logits), logits], dim=1)
    assert float(decision_loss(logits, values)) == pytest.approx(float(cross_entropy(pair, values)))
    assert error_rate(logits, values) == error_rate(pair, values)
    assert torch.equal(decide(logits), decide(pair))
    torch.testing.assert_close(probabilities(logits), probabilities(pair))
    assert probabilities(torch.tensor([[3.0]]).log())[0].tolist() == pytest.approx([0.25, 0.75])
    assert (logits_of(TWO), logits_of(THREE)) == (1, 3)


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_slope_of_the_loss_is_its_gradient(outputs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, outputs, generator=generator, requires_grad=True)
    values = torch.randint(max(2, outputs), (20,), generator=generator)
    expected = decision_loss(logits, values)
    loss, slope = decision_loss_and_slope(logits.detach(), values)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(slope, torch.autograd.grad(expected, logits)[0])


def test_joint_values_of_the_same_samples() -> None:
    labels = torch.tensor([0, 1, 2, 0])
    values = joint_values(labels, {"two": TWO, "three": THREE}, ("a", "b", "c"))
    assert values.tolist() == [[1, 0], [0, 1], [0, 2], [1, 0]]
    with pytest.raises(DataError, match="name a rest"):
        joint_values(torch.tensor([3]), {"three": THREE}, ("a", "b", "c", "d"))


def test_recent_keeps_the_last_used_and_makes_the_others_again() -> None:
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name

    recent: Recent[str] = Recent(size=2)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert recent.get(name, lambda name=name: make(name)) == name
    assert made == ["a", "b", "c", "b"]
