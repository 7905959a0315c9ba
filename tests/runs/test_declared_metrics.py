"""Whatever clients report gets its table, figure and summary by its declaration; closed-form values throughout."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

import semfed
from semfed.errors import FederationError, RunFolderError, ScenarioError
from semfed.report import plots, tables
from semfed.runs.api import Run
from semfed.runs.folder import declarations, read_metrics, read_records
from semfed.runs.results import condense
from semfed.scenario import built_in, overrides
from tests.sources import LEARNER

PLUGINS = Path(__file__).parents[1] / "plugins"
EXPECTED = Path(__file__).parents[1] / "scenarios" / "expected"


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)


def run(client: str, out: Path, **arms: float | None) -> Run:
    """Run two clients for two rounds; every arm has its gain."""
    learner: dict[str, Any] = {"name": f"reporting:{client}"}
    tree = {
        "name": "reported",
        "rounds": 2,
        "seeds": [0],
        "data": {"source": "digits", "partition": {"name": "iid", "per_client": 20}},
        "tasks": {"digit": {"values": list(range(10))}},
        "clients": {"count": 2, "task": "digit"},
        "model": {"encoder": "mlp", "decoder": "mlp"},
        "channel": {"name": "awgn", "uses": 8},
        "training": {"batch_size": 10, "lr": 0.1},
        "learner": learner,
        "strategy": "fedavg",
        "arms": [{"name": name, "learner": {"gain": gain}} for name, gain in arms.items()],
    }
    return semfed.run(tree, out=out)


def shown(done: Run) -> list[str]:
    """Return the lines of the tables, blanks made one."""
    console = Console(width=140, record=True)
    tables.show(done.summary, read_metrics(done.folder), console, [c.name for c in done.scenario.clients])
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def drawn(done: Run, name: str) -> Figure:
    return plots.figures(done.folder)[name]()


def test_a_client_that_reports_psnr_gets_table_figure_and_best_arm(tmp_path: Path) -> None:
    done = run("PsnrClient", tmp_path / "run", low=0.0, high=5.0)
    assert done.scenario.headline == "psnr/average"
    final = {arm: told["final"] for arm, told in done.summary["arms"].items()}
    assert final["low"]["psnr/average"]["mean"] == (22 + 26) / 2
    assert final["high"]["psnr/average"]["mean"] == (27 + 31) / 2
    assert final["high"]["psnr/digit"]["mean"] == 29.0
    assert final["high"]["kept/total"]["mean"] == 3 + 4, "weights add up over clients, but not over rounds"
    assert final["high"]["kept/digit"]["mean"] == 3 + 4
    assert done.summary["best"] == "high"
    assert done.summary["baselines"] == {"psnr/digit": 12.0, "psnr/average": 12.0}
    lines = shown(done)
    assert "reported: test PSNR in dB after the last round, 1 seed" in " ".join(lines)
    for row in ("arm digit average", "low 24.00 ? 24.00 ?", "high 29.00 * 29.00 *", "mean image 12.00 12.00"):
        assert row in lines
    assert "arm average MSE" in lines, "a score that is not the headline has a table, too"
    assert f"low {(10**-2.2 + 10**-2.6) / 2:.3g} ?" in lines
    (axes,) = drawn(done, "psnr-average-vs-round").axes
    assert axes.get_ylabel() == "average PSNR (dB)"
    low, high, mean_image = axes.lines
    assert (list(low.get_ydata()), list(high.get_ydata())) == ([23, 24], [28, 29])
    assert (list(mean_image.get_ydata()), mean_image.get_label()) == ([12, 12], "mean image")
    (axes,) = drawn(done, "mse-average-vs-round").axes
    assert axes.get_ylabel() == "average MSE"
    assert np.asarray(axes.lines[0].get_ydata(), dtype=float)[1] == pytest.approx((10**-2.2 + 10**-2.6) / 2)


def test_a_learner_s_own_score_needs_no_more_than_its_declaration(tmp_path: Path) -> None:
    """One batch of all test images, so that the PSNR is -10 log10 of the loss; no baseline of labels is told."""
    done = run("ReconstructingClient", tmp_path / "run")
    final = done.summary["arms"]["reported"]["final"]
    told = {r.metric: r.value for r in read_records(done.folder) if r.round == 2 and r.client == "client 1"}
    assert told["psnr/digit"] == pytest.approx(-10 * math.log10(told["loss/digit"]), rel=1e-5)
    assert done.scenario.headline == "psnr/average"
    assert done.summary["baselines"] == {}
    mean = final["psnr/average"]["mean"]
    assert f"reported {mean:.2f} {mean:.2f}" in shown(done)


def test_the_best_arm_of_an_error_is_the_lowest(tmp_path: Path) -> None:
    done = run("ErrorClient", tmp_path / "run", few=0.0, many=0.2)
    assert done.scenario.headline == "misses/average"
    assert done.summary["arms"]["many"]["final"]["misses/average"]["mean"] == pytest.approx(0.35)
    assert done.summary["best"] == "few"
    lines = shown(done)
    assert "reported: test misses in % after the last round, 1 seed" in " ".join(lines)
    assert "few 15.00 * 15.00 *" in lines
    assert "many 35.00 ? 35.00 ?" in lines
    (axes,) = drawn(done, "misses-average-vs-round").axes
    assert axes.get_ylabel() == "average misses (%)"
    assert list(axes.lines[1].get_ydata()) == pytest.approx([35, 35])


def test_what_a_learner_does_not_declare_is_refused_at_its_first_reply(tmp_path: Path) -> None:
    told = r"UndeclaredClient reports 'ssim', which it does not declare: add Metric\('ssim', \.\.\.\) to its class"
    with pytest.raises(FederationError, match=told):
        run("UndeclaredClient", tmp_path / "run", one=0.0)
    assert not (tmp_path / "run" / "metrics.jsonl").read_text().count('"round": 2'), "the first round is the last"


def test_a_stock_client_reports_plain_numbers(tmp_path: Path) -> None:
    done = run("StockClient", tmp_path / "run")
    final = done.summary["arms"]["reported"]["final"]
    assert final["accuracy/average"]["mean"] == (0.5 + 0.75) / 2
    assert done.scenario.headline == "loss/average"
    assert done.summary["best"] == "reported", "of all clients the framework knows that a loss is better lower"
    lines = shown(done)
    assert "reported: test loss after the last round, 1 seed" in " ".join(lines)
    assert "reported 0.25 0.25" in lines
    metrics = read_metrics(done.folder)
    assert metrics.find("accuracy/average") is None
    assert (metrics.of("accuracy/average").better, metrics.of("accuracy/average").fraction) == (None, False)
    chosen = overrides.load(done.scenario, ["headline=accuracy/average"])
    done = semfed.run(chosen, out=tmp_path / "chosen")
    assert done.summary["best"] is None
    assert "reported 0.62 0.62" in shown(done)
    assert drawn(done, "accuracy-average-vs-round").axes[0].get_ylabel() == "average accuracy"


def test_a_run_is_drawn_from_its_folder_without_its_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("PsnrClient", tmp_path / "run", low=0.0, high=5.0)
    labels = {name: make().axes[0].get_ylabel() for name, make in plots.figures(done.folder).items()}
    assert json.loads((done.folder / "metrics.json").read_text())["psnr"] == {
        "unit": "dB",
        "better": "higher",
        "fraction": False,
        "over_clients": "mean",
        "over_rounds": "last",
        "role": "score",
        "text": "PSNR",
        "against": "",
        "baseline": "mean image",
    }
    monkeypatch.delitem(sys.modules, "reporting")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(PLUGINS)])
    with pytest.raises(ScenarioError, match="reporting"):
        overrides.load(done.folder / "scenario.toml")
    assert {name: make().axes[0].get_ylabel() for name, make in plots.figures(done.folder).items()} == labels
    assert "low 24.00 ? 24.00 ?" in shown(done)


def test_a_run_from_before_declarations_has_those_of_its_plugins(tmp_path: Path) -> None:
    done = run("PsnrClient", tmp_path / "run", low=0.0, high=5.0)
    kept, lines = list(read_metrics(done.folder)), shown(done)
    (done.folder / "metrics.json").unlink()
    assert list(read_metrics(done.folder)) == kept
    assert shown(done) == lines


@pytest.mark.parametrize("change", [{"better": "up"}, {"shade": "blue"}, {"fraction": True}])
def test_declarations_of_another_version_are_told_of(tmp_path: Path, change: dict[str, Any]) -> None:
    done = run("PsnrClient", tmp_path / "run", low=0.0)
    path = done.folder / "metrics.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "psnr": {**table["psnr"], **change}}))
    with pytest.raises(RunFolderError, match="holds no declarations of metrics that this version knows"):
        read_metrics(done.folder)


def test_results_leave_losses_out_and_do_not_compare_totals(tmp_path: Path) -> None:
    done = run("PsnrClient", tmp_path / "run", low=0.0, high=5.0)
    result = condense(done.folder, {"description": "", "command": "", "at_rounds": [1]})
    kept = result["arms"]["high"]["final"]
    assert "psnr/average" in kept
    assert "cost/bytes_up" in kept
    assert not any(name.startswith("loss") for name in kept)
    differences = result["differences"]["high"]["final"]
    assert differences["psnr/average"]["values"] == {"0": 5.0}
    assert not any(name.startswith("cost") for name in differences)
    assert {"psnr/average", "psnr/digit", "mse/average", "kept/total"} <= result["arms"]["high"]["at_round"]["1"].keys()
    assert "cost/bytes_up" not in result["arms"]["high"]["at_round"]["1"]


@pytest.mark.parametrize("name", sorted(built_in()))
def test_all_that_built_in_learners_report_is_declared(name: str) -> None:
    """Of the names that short runs of all scenarios recorded; a run itself refuses others, too."""
    metrics = declarations(overrides.load(name))
    recorded = {key.rsplit(" ", 1)[0] for key in json.loads((EXPECTED / f"{name}.json").read_text())["metrics"]}
    names = {word for key in recorded for word in key.split(" ") if "/" in word or word == "objective"}
    assert names
    assert not [recorded for recorded in names if metrics.find(recorded) is None]


TWOFOLD = (
    LEARNER
    + """

class Twofold(Good):
    def score(self, nets, batch, send):
        right = super().score(nets, batch, send)["accuracy"]
        return {f"accuracy/{self.session.spec.task}": right, "accuracy/odd": right, "accuracy/average": right}
"""
)


def test_a_mean_over_decisions_of_which_some_have_no_baseline_has_none(
    module_beside: Callable[[str, str], Path],
) -> None:
    folder = module_beside("twofold", TWOFOLD)
    found = {}
    for learner in ("Good", "Twofold"):
        settings = [f'learner="twofold:{learner}"', "rounds=1"]
        done = semfed.run(folder / "scenario.toml", overrides=settings, seeds=[0], out=folder / learner)
        found[learner] = done.summary["baselines"]
    own = {name: found["Good"][f"accuracy/{name}"] for name in ("t1", "t2", "t3")}
    assert found["Good"]["accuracy/average"] == pytest.approx(sum(own.values()) / 3)
    assert found["Twofold"] == {f"accuracy/{name}": value for name, value in own.items()}
