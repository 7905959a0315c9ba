from pathlib import Path

import numpy as np
import pytest

import semfed
from semfed.report import plots
from semfed.report.feature_map import feature_map, features_of, read_features


@pytest.mark.parametrize("engine", ["inprocess", pytest.param("ray", marks=[pytest.mark.flower, pytest.mark.long])])
def test_received_features_reach_the_run_folder_and_a_figure(engine: str, tmp_path: Path) -> None:
    done = semfed.run("fedcl-digits", engine=engine, arms=["fedcl", "fedavg"], seeds=[0],
                      overrides=["rounds=1"], out=tmp_path / "run")  # fmt: skip
    for arm in ("fedcl", "fedavg"):
        found = read_features(done.folder / "samples" / f"{arm}-seed0.safetensors")
        assert found is not None
        features, labels = found
        assert features.shape == (len(labels), 64)
        assert np.isfinite(features).all()
        assert np.bincount(labels).max() <= 30 * len(done.scenario.clients)
    assert "received-features" in {path.stem for path in plots.plot(done.folder)}


def test_without_samples_there_is_no_figure(tmp_path: Path) -> None:
    assert features_of(tmp_path, ["a"], 0) == {}


def test_classes_are_told_apart_without_colour() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    figure = feature_map({"arm": (rows, np.arange(40) % 10)}, [str(k) for k in range(10)])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [str(k) for k in range(10)]
    shapes = {points.get_paths()[0].vertices.tobytes() for points in figure.axes[0].collections}
    assert len(shapes) == 10
