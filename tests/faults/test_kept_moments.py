"""Moments that clients keep between rounds survive an interruption."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import semfed


@pytest.mark.parametrize(("preset", "arm"), [("digits", "clustered"), ("fedcl-digits", "fedavg")])
def test_a_resumed_run_goes_on_with_its_clients_moments(
    interrupted: Callable[..., Path], results: Callable[[Path], Any], tmp_path: Path, preset: str, arm: str
) -> None:
    changes = ["rounds=4", "training.optimizer=adam", "training.momentum=0", "training.optimizer_state=kept"]
    given: dict[str, Any] = {"scenario": preset, "arms": [arm], "overrides": changes}
    folder = interrupted(rounds=3, **given)
    semfed.run(resume=folder)
    semfed.run(seeds=[0], out=tmp_path / "undisturbed", **given)
    assert results(folder) == results(tmp_path / "undisturbed")
