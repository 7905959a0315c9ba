"""Figures are ours, whatever the session says; one that fails costs nothing else."""

import json
import logging
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import semfed
from semfed.errors import RunFolderError
from semfed.report import plots
from semfed.report.drawing import draw


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drawn") / "run"
    return semfed.run("digits", seeds=[0], overrides=["rounds=1", "training.epochs=1"], out=out).folder


@pytest.mark.long
def test_a_session_s_backend_and_style_change_nothing(folder: Path, tmp_path: Path) -> None:
    ours = {path.name: path.read_bytes() for path in draw(folder)}
    assert ours
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 30\naxes.facecolor: red\n")
    session = {**os.environ, "MPLBACKEND": "module://not_of_this_interpreter", "MPLCONFIGDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "semfed", "plot", str(folder)], env=session, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert {path.name: path.read_bytes() for path in (folder / "plots").glob("*.png")} == ours


def test_files_are_what_a_publisher_takes(folder: Path) -> None:
    """TrueType fonts, no type 3, and the width of a column or a page exactly, in points and in pixels."""
    for path in draw(folder):
        pdf = path.with_suffix(".pdf").read_bytes()
        assert b"/Type3" not in pdf
        assert b"/FontFile2" in pdf
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) [\d.]+ \]", pdf)
        assert box is not None
        assert float(box[1]) in (pytest.approx(3.5 * 72), pytest.approx(7.16 * 72))
        width = struct.unpack(">I", path.read_bytes()[16:20])[0]
        assert width == round(float(box[1]) / 72 * plots.STYLE["figure.dpi"])


def test_equal_figures_are_equal_files(folder: Path) -> None:
    draw(folder)
    first = {path: path.read_bytes() for path in (folder / "plots").iterdir()}
    draw(folder)
    assert {path: path.read_bytes() for path in first} == first


def test_every_declared_metric_and_cost_has_its_figure(folder: Path) -> None:
    names = {path.stem for path in draw(folder)}
    wanted = {"accuracy-average-vs-round", "loss-average-vs-round", "snr-received-db-vs-round", "similarity",
              "accuracy-average-vs-bytes", "accuracy-average-vs-channel-uses"}  # fmt: skip
    assert wanted <= names


def test_a_figure_that_fails_is_told_of_and_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no room for a legend")

    monkeypatch.setattr(plots, "similarity_map", fail)
    with caplog.at_level(logging.WARNING):
        drawn = {path.stem for path in draw(folder)}
    assert "similarity" not in drawn
    assert "accuracy-average-vs-round" in drawn
    assert "similarity.png' is left out: no room for a legend" in caplog.text


@pytest.mark.long
def test_folders_of_earlier_versions_and_of_runs_that_were_killed_are_drawn(folder: Path, tmp_path: Path) -> None:
    """Figures are made from the history: no summary, or an old one without `headline`, changes nothing."""
    old = shutil.copytree(folder, tmp_path / "old", ignore=shutil.ignore_patterns("plots"))
    names = {path.name for path in draw(folder)}
    summary = json.loads((old / "summary.json").read_text())
    del summary["headline"]
    (old / "summary.json").write_text(json.dumps(summary))
    assert {path.name for path in draw(old)} == names
    (old / "summary.json").unlink()
    assert {path.name for path in draw(old)} == names


@pytest.mark.parametrize("line", ['{"arm": 5}', '{"details": 3, "arm": "clustered", "baselines": {}}', "[]", "{"])
def test_a_damaged_history_is_one_sentence(folder: Path, tmp_path: Path, line: str) -> None:
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    (damaged / "outcomes.jsonl").write_text(line + "\n")
    with pytest.raises(RunFolderError, match="damaged' has a damaged history .*: repeat the run"):
        draw(damaged)


def test_names_are_no_formulas(folder: Path) -> None:
    with plots.style.context(["default", plots.STYLE]):
        figure = plots.figures(folder)["similarity"]()
        figure.axes[0].set_title("$\\nonsense{")
        figure.savefig(folder / "formula.png")
