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
from semfed.training.fused.stacked import Cohort
from semfed.training.objective import Batch, Networks
from semfed.training.step import AutogradStep
from tests.training.pairs import Pair, pair


def networks(seed: int, *, normalised: bool) -> list[nn.Module]:
    torch.manual_seed(seed)
    plain = MLP(MLP.Settings(hidden=(12, 9), outputs=6, final_relu=True)).build((1, 4, 4), 6)
    convolved = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6)
    )
    return [convolved if normalised else plain, MLP(MLP.Settings(hidden=(5,))).build((6,), 3)]


def arrays(each: list[nn.Module]) -> list[np.ndarray]:
    return [tensor.numpy().copy() for network in each for tensor in network.state_dict().values()]


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
    cohort = Cohort(settings, pair(networks(9, normalised=normalised)), [arrays(each) for each in alone])
    steps = [AutogradStep(pair(each), settings) for each in alone]
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        images = torch.randn((4, 7, 1, 4, 4), generator=generator)
        labels = torch.randint(3, (4, 7), generator=generator)
        losses = cohort.step(images, labels, [weaker] * 4)
        expected = [step(Pair(), Batch(images[k], labels[k]), weaker) for k, step in enumerate(steps)]
        assert torch.allclose(losses, torch.stack(expected), atol=1e-5)
    # Adam turns the rounding errors of a bias before a normalisation, whose gradient is zero, into whole steps.
    tolerance = 1e-2 if normalised and settings.optimizer == "adam" else 1e-6
    for state, each in zip(cohort.states(), alone, strict=True):
        for mine, reference in zip(state, arrays(each), strict=True):
            assert np.allclose(mine, reference, atol=tolerance)


def test_networks_that_draw_random_numbers_are_not_stacked() -> None:
    encoder, decoder = networks(0, normalised=False)
    plain = TrainingSettings(lr=0.1)
    assert Cohort.trains(Pair(), pair([encoder, decoder]), plain)
    drawing = nn.Sequential(copy.deepcopy(encoder), Dropout(0.5))
    assert not Cohort.trains(Pair(), pair([drawing, decoder]), plain)


def test_private_networks_and_kept_moments_are_not_stacked() -> None:
    encoder, decoder = networks(0, normalised=False)
    plain, kept = TrainingSettings(lr=0.1), TrainingSettings(optimizer="adam", optimizer_state="kept")
    assert not Cohort.trains(Pair(), Networks({"encoder": encoder}, {"decoder": decoder}), plain)
    assert not Cohort.trains(Pair(), pair([encoder, decoder]), kept)


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
