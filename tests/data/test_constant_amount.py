"""m-way partitions in which every client has the same number of images, whatever m."""

import numpy as np
import pytest

from semfed.data.partitions import deal
from semfed.errors import ScenarioError
from semfed.scenario import overrides

LABELS = np.repeat(np.arange(10), 40)


@pytest.mark.parametrize(("m", "shots"), [(1, 30), (2, 15), (3, 10), (4, 7)])
def test_a_client_has_the_same_amount_for_every_m(m: int, shots: int) -> None:
    change = f'data.partition={{name="ways-shots", m={m}, per_client=30}}'
    split = overrides.load("fedcl-digits", [change]).data.partition
    classes = tuple(map(str, range(10)))
    for rows in deal(split, LABELS, classes, 1, np.random.default_rng(0)):
        assert sorted(np.bincount(LABELS[rows], minlength=10).tolist(), reverse=True) == [shots] * m + [0] * (10 - m)


def test_m_can_be_swept_at_a_constant_amount() -> None:
    change = 'data.partition={name="ways-shots", m=3, per_client=30}'
    scenario = overrides.load("fedcl-digits", [change], sweep="data.m=1,2,5")
    shots = [scenario.arm(f"fedcl@{m}").data.partition.settings.shots for m in (1, 2, 5)]
    assert shots == [30, 15, 6]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('{name="ways-shots", m=3}', "either q, images a class, or per_client"),
        ('{name="ways-shots", m=3, q=2, per_client=6}', "either q, images a class, or per_client"),
        ('{name="ways-shots", m=3, per_client=2}', "no image a class at m = 3"),
    ],
)
def test_amounts_that_do_not_work_are_refused(table: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        overrides.load("fedcl-digits", [f"data.partition={table}"])
