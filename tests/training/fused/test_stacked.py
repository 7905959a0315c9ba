import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import semfed
from semfed.errors import ScenarioError
from semfed.models.layers.dropout import Dropout
from semfed.models.mlp import MLP
from semfed.runs.folder import read_records
from semfed.scenario import TrainingSettings
from semfed.training.end_to_end import AutogradChain
from semfed.training.fused.stacked import Cohort, stackable


def networks(seed: int, *, normalised: bool) -> list[nn.Module]:
    torch.manual_seed(seed)
    plain = MLP(MLP.Settings(hidden=(12, 9), outputs=6, final_relu=True)).build((1, 4, 4), 6)
    convolved = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6)
    )
    return [convolved if normalised else plain, MLP(MLP.Settings(hidden=(5,))).build((6,), 3)]


def arrays(pair: list[nn.Module]) -> list[np.ndarray]:
    return [tensor.numpy().copy() for network in pair for tensor in network.state_dict().values()]


def weaker(x: Tensor) -> Tensor:
    return 0.7 * x


@pytest.mark.parametrize("normalised", [False, True], ids=["fully connected", "batch normalised"])
@pytest.mark.parametrize(
    "settings",
    [TrainingSettings(lr=0.1), TrainingSettings(lr=0.1, momentum=0.9), TrainingSettings(optimizer="adam", lr=0.001)],
    ids=["sgd", "momentum", "adam"],
)
def test_a_cohort_trains_as_its_clients_do_alone(settings: TrainingSettings, normalised: bool) -> None:
    alone = [networks(k, normalised=normalised) for k in range(4)]
    cohort = Cohort(settings, *networks(9, normalised=normalised), [arrays(pair) for pair in alone])
    chains = [AutogradChain(settings, *pair) for pair in alone]
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        images = torch.randn((4, 7, 1, 4, 4), generator=generator)
        labels = torch.randint(3, (4, 7), generator=generator)
        losses = cohort.step(images, labels, [weaker] * 4)
        expected = [chain.step(images[k], labels[k], weaker) for k, chain in enumerate(chains)]
        assert torch.allclose(losses, torch.stack(expected), atol=1e-5)
    # Adam turns the rounding errors of a bias before a normalisation, whose gradient is zero, into whole steps.
    tolerance = 1e-2 if normalised and settings.optimizer == "adam" else 1e-6
    for state, pair in zip(cohort.states(), alone, strict=True):
        for mine, reference in zip(state, arrays(pair), strict=True):
            assert np.allclose(mine, reference, atol=tolerance)


def test_networks_that_draw_random_numbers_are_not_stacked() -> None:
    encoder, _ = networks(0, normalised=False)
    assert stackable(encoder)
    assert not stackable(nn.Sequential(copy.deepcopy(encoder), Dropout(0.5)))


SHORT: dict[str, Any] = {"seeds": [0], "overrides": ["rounds=2", "clients.count=5", "data.q=12", "model.encoder.nf=4"]}


@pytest.mark.parametrize("cohort", [2, 8])
def test_a_run_in_cohorts_has_the_same_numbers_up_to_rounding(cohort: int, tmp_path: Any) -> None:
    given = {**SHORT, "arms": ["fedavg"]}
    given["overrides"] = [*SHORT["overrides"], "training.optimizer=sgd", "training.lr=0.05"]
    runs = [semfed.run("fedcl-digits", **given, cohort=size, out=tmp_path / f"{size}") for size in (1, cohort)]
    one, many = (read_records(run.folder) for run in runs)
    assert [(r.round, r.client, r.metric) for r in one] == [(r.round, r.client, r.metric) for r in many]
    for mine, other in zip(one, many, strict=True):
        tolerance = 0.0 if mine.metric.startswith(("cost", "failure")) else 1e-3
        assert mine.value == pytest.approx(other.value, abs=tolerance), mine.metric


def test_learners_without_cohorts_are_served_one_by_one(tmp_path: Any) -> None:
    given = {**SHORT, "arms": ["local"]}
    runs = [semfed.run("fedcl-digits", **given, cohort=size, out=tmp_path / f"{size}") for size in (1, 4)]
    assert (runs[0].folder / "metrics.jsonl").read_text() == (runs[1].folder / "metrics.jsonl").read_text()


def test_cohorts_train_in_process_alone(tmp_path: Any) -> None:
    with pytest.raises(ScenarioError, match="cohort = 4 has no effect with engine 'ray': it is an option of inprocess"):
        semfed.run("digits", engine="ray", cohort=4, out=tmp_path / "run")
