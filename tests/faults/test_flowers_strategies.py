"""All of Flower's own message-API strategies, by name: they run with our clients and go on, or say why not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flwr.serverapp.strategy as flowers
import pytest
import tomli_w

import semfed
from semfed import scenario as scenarios
from semfed.errors import SemfedError

RUN: dict[str, dict[str, Any]] = {
    "Bulyan": {}, "FedAdagrad": {}, "FedAdam": {}, "FedAvg": {}, "FedAvgM": {"server_momentum": 0.5},
    "FedMedian": {}, "FedProx": {"proximal_mu": 0.1}, "FedTrimmedAvg": {"beta": 0.34}, "FedYogi": {}, "Krum": {},
    "MultiKrum": {}, "QFedAvg": {"client_learning_rate": 0.05},
}  # fmt: skip
REFUSED = {
    **{
        f"DifferentialPrivacy{side}Side{way}Clipping": "needs 'strategy', which no scenario can hold"
        for side in ("Client", "Server")
        for way in ("Adaptive", "Fixed")
    },
    "FedXgbBagging": "FedXgbBagging exchanges trees of XGBoost, which no learner here grows",
    "FedXgbCyclic": "FedXgbCyclic exchanges trees of XGBoost, which no learner here grows",
}


def arguments(tmp_path: Path, name: str, **settings: Any) -> dict[str, Any]:
    strategy = {"name": f"flwr.serverapp.strategy:{name}", **settings}
    tree = scenarios.read(scenarios.built_in()["digits"]) | {"strategy": strategy, "arms": []}
    path = tmp_path / "scenario.toml"
    path.write_text(tomli_w.dumps(tree))
    return {"scenario": path, "arms": None, "overrides": ["rounds=2", "training.epochs=1"]}


def test_every_strategy_of_flower_s_has_a_line() -> None:
    assert {*RUN, *REFUSED} == {*flowers.__all__} - {"Result", "Strategy"}


@pytest.mark.parametrize("name", list(RUN))
def test_it_runs_and_goes_on(
    name: str, interrupted: Callable[..., Path], results: Callable[[Path], Any], tmp_path: Path
) -> None:
    given = arguments(tmp_path, name, **RUN[name])
    folder = interrupted(rounds=1, **given)
    semfed.run(resume=folder)
    semfed.run(seeds=[0], out=tmp_path / "undisturbed", **given)
    assert results(folder) == results(tmp_path / "undisturbed")


@pytest.mark.parametrize("name", list(REFUSED))
@pytest.mark.parametrize("checkpoints", [0, 1])
def test_what_has_no_place_is_refused_in_one_sentence(name: str, checkpoints: int, tmp_path: Path) -> None:
    given = arguments(tmp_path, name)
    given["overrides"].append(f"checkpoint_every={checkpoints}")
    with pytest.raises(SemfedError, match=REFUSED[name]) as told:
        semfed.run(seeds=[0], out=tmp_path / "run", **given)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()
