import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from semfed import seeding
from semfed.algorithms.contrastive import (
    CentroidGenerator,
    Centroids,
    client_loss,
    generator_loss,
    local_centroids,
    mean_centroids,
)
from semfed.scenario import TrainingSettings
from semfed.training.optimizers import make_optimizer


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_centroid(values: list[float], label: int, classes: int) -> Centroids:
    counts = torch.zeros(classes)
    counts[label] = 1
    rows = torch.zeros(classes, len(values))
    rows[label] = torch.tensor(values)
    return Centroids(rows, counts)


def test_local_centroids_are_class_means() -> None:
    labels = torch.tensor([2, 0, 2, 2, 0, 4])
    features = torch.randn(6, 3, generator=generator())
    found = local_centroids(features, labels, 5)
    for label in (0, 2, 4):
        assert torch.allclose(found.values[label], features[labels == label].mean(0), atol=1e-6)
    assert found.counts.tolist() == [2, 0, 3, 0, 1]
    assert found.known.tolist() == [True, False, True, False, True]
    assert found.classes.tolist() == [0, 2, 4]
    assert not found.values[[1, 3]].any()


@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.integers(1, 11))
def test_weighted_mean_of_local_centroids_is_the_centroid_of_all_samples(labels: list[int], cut: int) -> None:
    wanted = torch.tensor(labels)
    features = torch.randn(len(labels), 4, generator=generator(len(labels)), dtype=torch.float64)
    cut = min(cut, len(labels) - 1)
    parts = [local_centroids(f, y, 4) for f, y in ((features[:cut], wanted[:cut]), (features[cut:], wanted[cut:]))]
    together = local_centroids(features, wanted, 4)
    mean = mean_centroids(parts)
    assert torch.allclose(mean.values, together.values)
    assert torch.equal(mean.counts, together.counts)


@pytest.mark.parametrize(("mode", "temperature"), [("literal", 0.5), ("normalised", 1.0)])
def test_generator_loss_of_the_hand_made_case(mode: str, temperature: float) -> None:
    """f-bar = (1, 0), F^1 = (1, 0), F^2 = (0, 1), c = 1: log exp(0) - 1."""
    local = [one_centroid([1.0, 0.0], 0, 2)]
    loss = generator_loss(local, torch.eye(2), mode=mode, temperature=temperature)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(-1.0)


def test_literal_generator_loss_is_equation_nine() -> None:
    random = generator(1)
    local = [
        local_centroids(torch.randn(9, 3, generator=random), torch.randint(4, (9,), generator=random), 4)
        for _ in range(3)
    ]
    generated = torch.randn(4, 3, generator=random)
    expected = 0.0
    for centroids in local:
        for c in range(4):
            if centroids.known[c]:
                dots = (generated @ centroids.values[c]).tolist()
                expected += math.log(sum(math.exp(d) for n, d in enumerate(dots) if n != c)) - dots[c]
    assert generator_loss(local, generated, mode="literal", temperature=1.0).item() == pytest.approx(expected, rel=1e-5)


def test_normalised_loss_does_not_depend_on_norms() -> None:
    local, generated = [one_centroid([0.3, -2.0], 1, 3)], torch.randn(3, 2, generator=generator())
    losses = [
        generator_loss(local, scale * generated, mode="normalised", temperature=0.5).item() for scale in (0.1, 1, 50)
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


@pytest.mark.parametrize("mode", ["normalised", "literal"])
def test_two_hundred_updates_stay_finite_and_within_the_norm_of_a_feature(mode: str) -> None:
    random = generator(2)
    local = [
        local_centroids(8 * torch.randn(30, 64, generator=random), torch.randint(10, (30,), generator=random), 10)
        for _ in range(5)
    ]
    with seeding.initialisation(0, "scg"):
        scg = CentroidGenerator(10, 64, mode)  # type: ignore[arg-type]
    parameters = list(scg.parameters())
    optimizer = make_optimizer(TrainingSettings(optimizer="adam", lr=0.001), parameters)
    losses = []
    for _ in range(200):
        loss = generator_loss(local, scg(), mode=mode, temperature=0.5)  # type: ignore[arg-type]
        losses.append(loss.item())
        optimizer.step(torch.autograd.grad(loss, parameters))
    norms = scg().norm(dim=1)
    assert losses[-1] < losses[0]
    assert torch.isfinite(norms).all()
    if mode == "normalised":
        assert torch.allclose(norms, torch.full((10,), 8.0), rtol=1e-5)
    else:
        assert norms.max() <= 8.0 + 1e-4
        assert norms.min() > 7.0, "without the projection they would be far outside by now"


def test_client_loss_is_equation_ten() -> None:
    random = generator(3)
    received, logits = torch.randn(4, 64, generator=random), torch.randn(4, 3, generator=random)
    labels = torch.tensor([0, 2, 1, 2])
    centroids = Centroids(torch.randn(3, 64, generator=random), torch.ones(3))
    squared_norms = (received - centroids.values[labels]).square().sum(1)
    expected = cross_entropy(logits, labels) + 5 / 64 * squared_norms.mean()
    assert client_loss(logits, received, labels, centroids, 5.0).item() == pytest.approx(expected.item(), rel=1e-6)


def test_client_loss_pulls_neither_unknown_classes_nor_the_centroids() -> None:
    received, logits = torch.ones(2, 4, requires_grad=True), torch.zeros(2, 2)
    values = torch.zeros(2, 4, requires_grad=True)
    centroids = Centroids(values, torch.tensor([0.0, 1.0]))
    client_loss(logits, received, torch.tensor([0, 1]), centroids, 1.0).backward()
    assert received.grad is not None
    assert received.grad[0].tolist() == [0.0] * 4
    assert received.grad[1].tolist() == pytest.approx([0.25] * 4)
    assert values.grad is None
