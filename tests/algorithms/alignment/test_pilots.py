"""Pilots are images on which nothing is trained, whatever the source of the latents."""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from semfed.algorithms.alignment.data import AlignmentData
from semfed.algorithms.alignment.latents import LatentContext
from semfed.algorithms.alignment.latents.files import FileLatents
from semfed.algorithms.alignment.latents.pretrained import TorchvisionLatents
from semfed.data.dataset import Dataset, ImageSet
from semfed.errors import DataError
from semfed.scenario import overrides

SAMPLES = 200
FILES = 'learner.latents={name="files", access_point="x.npz", users=["x.npz", "x.npz", "x.npz", "x.npz"]}'
SHORT = ["training.epochs=1", "learner.classifier.epochs=1"]


def prepared(root: Path, *changes: str, seed: int = 0) -> tuple[AlignmentData, list[Tensor]]:
    """Return what four users with 20 images each prepare, and the training rows whose images were asked for so far."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (SAMPLES, 1, 8, 8), generator=generator).to(torch.uint8)
    part = ImageSet(images, torch.arange(SAMPLES) % 10)
    dataset = Dataset("noise", tuple(map(str, range(10))), part, part, (0.5,), (0.3,))
    scenario = overrides.load("alignment-digits", [*SHORT, *changes]).arm("shared")
    asked: list[Tensor] = []

    def look(rows: Tensor | None) -> Tensor:
        if rows is not None:
            asked.append(rows)
        return (images if rows is None else images[rows]).float() / 255

    place = LatentContext(
        scenario, seed, dataset, look, lambda user: torch.arange(20 * user, 20 * user + 20), root, torch.device("cpu")
    )
    kept: dict[Hashable, Any] = {}

    def once(key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in kept:
            kept[key] = make()
        return kept[key]

    return AlignmentData(place, scenario.learner.settings, once), asked  # type: ignore[arg-type]


def shared(one: Tensor, other: Tensor) -> int:
    return len(set(one.tolist()) & set(other.tolist()))


@pytest.mark.parametrize("seed", range(3))
def test_no_encoder_and_no_classifier_is_trained_on_a_pilot(tmp_path: Path, seed: int) -> None:
    """Every look at training images is at all pilots, to encode them, or at none of them."""
    changes = ["latents.access_point_images=30", "pilots=60"]
    own, asked = prepared(tmp_path, *changes, seed=seed)
    own.access_point()
    for user in range(4):
        own.user(user)
    pilots = own.access_point().sender.pilots.shape[1]
    (drawn,) = {tuple(rows.tolist()) for rows in asked if len(rows) == pilots == 60}
    looks = [shared(rows, torch.tensor(drawn)) for rows in asked]
    assert sorted(looks) == [0] * 9 + [60] * 5, "five encoders and four classifiers; pilots of five"


def test_pilots_may_be_any_images_if_asked_for(tmp_path: Path) -> None:
    own, asked = prepared(tmp_path, "latents.access_point_images=30", "pilots=60", "pilot_images=any")
    own.access_point()
    training, pilots = asked
    assert 0 < shared(training, pilots) < 30


def test_fewer_pilots_are_the_first_of_more(tmp_path: Path) -> None:
    sizes = ["pilots=40", "pilots=60", "pilots=80"]
    few, some, fraction = (
        prepared(tmp_path, "latents.access_point_images=30", *more)[0]._pilots()
        for more in ([sizes[0]], [sizes[1]], [sizes[2], "pilot_fraction=0.5"])
    )
    assert torch.equal(few, some[:40])
    assert torch.equal(few, fraction)


def test_files_keep_pilots_from_their_classifiers(tmp_path: Path) -> None:
    latents = np.random.default_rng(0).standard_normal((SAMPLES, 6)).astype(np.float32)
    labels = np.arange(SAMPLES) % 10
    np.savez(tmp_path / "x.npz", train=latents, test=latents, train_labels=labels, test_labels=labels)
    own, _ = prepared(tmp_path, FILES, "pilots=100")
    source = own._source()
    assert isinstance(source, FileLatents)
    assert shared(own._pilots(), torch.arange(SAMPLES)) == 100
    assert [shared(own._pilots(), source.private(user)) for user in range(4)] == [0] * 4
    assert [len(source.private(user)) for user in range(4)] == [100] * 4
    with pytest.raises(DataError, match="learner.pilots = 101, but 100 of 200 training images can be pilots"):
        prepared(tmp_path, FILES, "pilots=101")[0].access_point()
    most, _ = prepared(tmp_path, FILES.replace('x.npz"]', 'x.npz"], classifier_share=0.1'), "pilots=180")
    assert len(set(most._pilots().tolist())) == 180


def test_pretrained_networks_leave_the_users_images_out(tmp_path: Path) -> None:
    users = '["resnet18", "resnet18", "resnet18", "resnet18"]'
    own, _ = prepared(tmp_path, f'learner.latents={{name="torchvision", users={users}}}', "pilots=120")
    assert isinstance(own._source(), TorchvisionLatents)
    assert sorted(own._pilots().tolist()) == list(range(80, 200))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["latents.access_point_images=30", "pilots=120"],
            r"pilots = 120, but \d+ of 200 training images can be pilots with learner.pilot_images = 'held-out'",
        ),
        (["pilot_images=any", "pilots=201"], "learner.pilots = 201, but 200 of 200 training images can be pilots"),
        (
            ["latents.access_point_images=201", "pilots=20"],
            "access_point_images = 201, but there are 200 training images",
        ),
    ],
)
def test_more_images_than_there_are_are_refused(tmp_path: Path, changes: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepared(tmp_path, *changes)[0].access_point()
