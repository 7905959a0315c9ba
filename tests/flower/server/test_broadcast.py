"""A strategy of three lines: everything else is the base's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import semfed
from semfed.errors import SemfedError
from semfed.flower.client.learner import Learner
from semfed.runs.api import Run

PLUGINS = Path(__file__).parents[2] / "plugins"
SHORT: dict[str, Any] = {"seeds": [0], "arms": ["fedavg"]}
FEW = ["clients.count=4", "data.q=12"]


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)


def run(strategy: str, out: Path, *more: str, **options: Any) -> Run:
    given = [*FEW, f'arms.fedavg.strategy={{name="broadcasting:{strategy}"}}', *more]
    return semfed.run("fedcl-digits", overrides=given, out=out, **SHORT, **options)


def parameters(done: Run) -> dict[str, Any]:
    (file,) = (done.folder / "parameters").iterdir()
    return load_file(file)


def test_the_median_of_what_the_clients_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[Any]] = []
    fit = Learner.fit

    def noted(self: Learner, parameters: Any, config: Any) -> Any:
        answer = fit(self, parameters, config)
        sent.append([array.copy() for array in answer[0]])
        return answer

    monkeypatch.setattr(Learner, "fit", noted)
    done = run("Median", tmp_path / "run", "rounds=1")
    found = parameters(done)
    expected = [np.median(np.stack(arrays), axis=0).astype(arrays[0].dtype) for arrays in zip(*sent, strict=True)]
    assert len(sent) == 4
    told = sorted((array.tobytes(), str(array.dtype)) for array in found.values())
    assert told == sorted((array.tobytes(), str(array.dtype)) for array in expected)


def test_a_step_of_the_server_starts_from_what_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[list[Any]] = []
    fit = Learner.fit

    def noted(self: Learner, parameters: Any, config: Any) -> Any:
        received.append([array.copy() for array in parameters])
        return fit(self, parameters, config)

    monkeypatch.setattr(Learner, "fit", noted)
    found = parameters(run("Still", tmp_path / "run", "rounds=2"))
    assert len(received) == 8
    told = sorted((array.tobytes(), str(array.dtype)) for array in found.values())
    for arrays in received:
        assert sorted((array.tobytes(), str(array.dtype)) for array in arrays) == told


@pytest.mark.flower
@pytest.mark.parametrize("strategy", ["Median", pytest.param("First", marks=pytest.mark.long)])
def test_it_gives_the_same_numbers_on_ray(strategy: str, tmp_path: Path) -> None:
    one = run(strategy, tmp_path / "one", "rounds=2")
    other = run(strategy, tmp_path / "other", "rounds=2", engine="ray", workers=2)
    assert (one.folder / "metrics.jsonl").read_text() == (other.folder / "metrics.jsonl").read_text()


def test_arrays_of_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SemfedError, match=r"Nameless.aggregate returned the arrays \['0'\] instead of \['encoder"):
        run("Nameless", tmp_path / "run", "rounds=1")


def test_entries_of_the_config_reach_the_clients(tmp_path: Path) -> None:
    """A proximal term that outweighs everything keeps the weights of the first round, which no term leaves behind."""
    sgd = ["training.optimizer=sgd", "training.lr=1e-7"]  # lr x mu = 0.1
    held, free = (parameters(run(name, tmp_path / name, "rounds=1", *sgd)) for name in ("Held", "Median"))
    later = parameters(run("Held", tmp_path / "later", "rounds=2", *sgd))
    weights = [name for name in held if "running" not in name and "num_batches" not in name]
    assert any(not np.array_equal(held[name], free[name]) for name in weights)
    assert all(np.allclose(held[name], later[name], atol=1e-5) for name in weights)
